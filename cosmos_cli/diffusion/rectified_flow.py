"""Rectified-flow preconditioning: from a network that predicts velocity to denoised latents.

The sampler works in the variance-exploding form x_sigma = x0 + sigma * noise; the network was trained on
x_t = (1 - t) * x0 + t * noise. Both meet at t = sigma / (sigma + 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# B batch, C latent channels, T latent frames, H and W latent height and width

SIGMA_CONDITIONAL = 1e-4
"""Noise level that the network is told for conditioning frames."""


class Scaling(NamedTuple):
    """Coefficients of x0 = c_skip * x + c_out * F(c_in * x, c_noise), each of sigma's shape."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def scaling(sigma: Tensor) -> Scaling:
    """Preconditioning coefficients at noise level sigma (sigma_data is 1).

    Source: cosmos-predict2, module/denoiser_scaling.py (formulas).
    """
    t = sigma / (sigma + 1)
    return Scaling(c_skip=1 - t, c_out=-t, c_in=1 - t, c_noise=t)


def uniform_loss_weight(sigma: Tensor) -> Tensor:
    """Weight of the squared x0 error that makes the velocity error count alike at every sigma."""
    return (1 + sigma) ** 2 / sigma**2


def bell_loss_weight(sigma: Tensor) -> Tensor:
    """Weight of the squared x0 error that favours the middle of the flow; a table over t of mean 1."""
    num_bins = 1000
    bell = torch.exp(-2 * (torch.linspace(0, 1, num_bins, device=sigma.device) - 0.5) ** 2)
    bell = bell - bell.min()
    weights = bell * (num_bins / bell.sum())
    t = sigma / (sigma + 1)
    return weights[(t * num_bins).round().long().clamp(max=num_bins - 1)]


class Conditioning(NamedTuple):
    """Latent frames that are given, not generated.

    latents_BCTHW: clean latents at the conditioning frames, float32; what other frames hold does not matter.
    mask_B1T11: 1 at conditioning frames, 0 elsewhere, float32.
    """

    latents_BCTHW: Tensor
    mask_B1T11: Tensor


def first_frames(latents_BCTHW: Tensor, num_frames: int) -> Conditioning:
    """Condition on the first `num_frames` latent frames. `latents_BCTHW` has the full length."""
    B, _, T, _, _ = latents_BCTHW.shape
    if not 0 <= num_frames <= T:
        raise ValueError(f"{num_frames} conditioning frames in a clip of {T} latent frames")
    mask = torch.zeros(B, 1, T, 1, 1, dtype=torch.float32, device=latents_BCTHW.device)
    mask[:, :, :num_frames] = 1
    return Conditioning(latents_BCTHW, mask)


Velocity = Callable[[Tensor, Tensor], Tensor]
"""(scaled latents BCTHW, timesteps BT) -> velocity BCTHW, as the network predicts it."""


def denoise(
    velocity: Velocity,
    x_BCTHW: Tensor,
    sigma: Tensor,
    conditioning: Conditioning,
    *,
    dtype: torch.dtype,
) -> Tensor:
    """One evaluation: the denoised latents x0, with the conditioning frames replaced by what is known of them.

    Conditioning frames enter the network clean and unscaled, at the noise level `SIGMA_CONDITIONAL`; in the result
    they are exactly the given latents.

    Args:
        velocity: the network, closed over its text and masks.
        x_BCTHW: noisy latents at level sigma, float32.
        sigma: noise level, a float32 scalar.
        dtype: the network's own dtype; its input and timesteps are rounded to it, everything else is float32.
    Returns:
        x0_BCTHW, float32.
    Source: cosmos-predict2, pipelines/video2world.py, the strategy "frame_replace" (behaviour).
    """
    latents, mask = conditioning
    c = scaling(sigma)
    network_input = mask * latents + (1 - mask) * (c.c_in * x_BCTHW)
    clean = scaling(torch.full_like(sigma, SIGMA_CONDITIONAL)).c_noise
    timesteps_BT = mask[:, 0, :, 0, 0] * clean + (1 - mask[:, 0, :, 0, 0]) * c.c_noise
    predicted = velocity(network_input.to(dtype), timesteps_BT.to(dtype)).float()
    x0 = c.c_skip * x_BCTHW + c.c_out * predicted
    return mask * latents + (1 - mask) * x0
