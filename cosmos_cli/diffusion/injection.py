"""Holding parts of a picture to a reference while the rest is denoised freely: guidance without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cosmos_cli.diffusion.ab2 import Denoiser

# B batch, C latent channels, T latent frames, H and W latent height and width


class Layer(NamedTuple):
    """A part of the picture that is held.

    mask_B1THW: 1 where it is, 0 elsewhere, anything between on a soft border.
    sigma_threshold: it is held at noise levels above this one, and free from there on.
    """

    mask_B1THW: Tensor
    sigma_threshold: float


@dataclass(frozen=True)
class Injection:
    """Replaces what a network sees of held parts by a reference with the noise that belongs to the level.

    Only the network's input is replaced, not the state of the sampler: what the network predicts for a held part stays
    close to the reference, since it sees it, and what it predicts for the rest fits beside it.

    reference_BCTHW: clean latents.
    noise_BCTHW: standard normal, the same at every level: with fresh noise a held part would not hold together.
    layers: the later covers the earlier where both are.

    Source: i4h-workflows, cosmos_transfer1/model/model_v2w.py (behaviour).
    """

    reference_BCTHW: Tensor
    noise_BCTHW: Tensor
    layers: Sequence[Layer]

    def __call__(self, x_BCTHW: Tensor, sigma: Tensor) -> Tensor:
        """What the network is to see of x at noise level sigma, a scalar; in x's dtype.

        Levels are compared with thresholds in sigma's dtype: rounded to bfloat16, a threshold may meet its level.
        """
        held = self.reference_BCTHW.to(x_BCTHW.dtype) + sigma * self.noise_BCTHW.to(x_BCTHW.dtype)
        for mask, threshold in self.layers:
            # in numbers: to branch would mean to wait for a GPU
            weight = mask.to(x_BCTHW.dtype) * (sigma > threshold)
            x_BCTHW = torch.where(weight > 0, (1 - weight) * x_BCTHW + weight * held, x_BCTHW)
        return x_BCTHW

    def around(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser, which sees held parts as here, for any sampler."""
        return lambda x_BCTHW, sigma: denoiser(self(x_BCTHW, sigma), sigma)
