"""The Euler sampler of the EDM families: works on the network's raw output and ends at zero noise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from cosmos_cli.diffusion.edm import SIGMA_DATA, precondition_output, scaling
from cosmos_cli.diffusion.schedules import karras_sigmas

# B batch, C latent channels, T latent frames, H and W latent height and width

Predict = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(x, sigma as a float32 scalar) -> (x as the network saw it, before scaling; its raw output, guided)."""


def euler_sigmas(num_steps: int, sigma_min: float = 0.0002, sigma_max: float = 80.0, rho: float = 7.0) -> Tensor:
    """Noise levels that fall from sigma_max to sigma_min and then to 0, (num_steps + 1,), float32.

    Raises:
        ValueError: no steps, or a range that is not 0 < sigma_min < sigma_max.
    Source: diffusers, EDMEulerScheduler.set_timesteps (formula).
    """
    # two levels at least, so that a single step, which visits the first alone, has its range checked too
    levels = karras_sigmas(num_steps - 1 if num_steps > 1 else num_steps, sigma_min, sigma_max, rho)[:num_steps]
    return torch.cat([levels, levels.new_zeros(1)]).float()


def initial_scale(sigma_max: float) -> float:
    """Standard deviation of the noise that sampling starts from: that of data of unit variance at sigma_max."""
    return math.hypot(sigma_max, 1)


def sample_edm_euler(
    predict: Predict, x: Tensor, sigmas: Tensor, on_step: Callable[[int, Tensor], None] | None = None
) -> Tensor:
    """Integrate from sigmas[0] to sigmas[-1] and return the latents there.

    Args:
        predict: called once per step; `unconditioned` makes one of a network.
        x: standard normal noise times `initial_scale`.
        sigmas: as from `euler_sigmas`.
        on_step: called after update i with (i, x).
    Source: cosmos-predict1, model/model_t2w.py; diffusers, EDMEulerScheduler.step (formulas).
    """
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        x = edm_euler_step(*predict(x, sigma), sigma, sigma_next)
        if on_step:
            on_step(i, x)
    return x


def edm_euler_step(x: Tensor, output: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """From sigma to sigma_next along the line through x and x0: computed in float32, returned in output's dtype."""
    x = x.float()
    x0 = precondition_output(x, output, sigma)
    return (x + (x - x0) / sigma * (sigma_next - sigma)).to(output.dtype)


def unconditioned(network: Callable[[Tensor, Tensor], Tensor]) -> Predict:
    """The `Predict` of a network (scaled latents, c_noise) -> raw output, without given frames."""

    def predict(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        c = scaling(sigma)
        return x, network(c.c_in * x, c.c_noise)

    return predict


def output_of_x0(x0: Tensor, x: Tensor, sigma: Tensor, sigma_data: float = SIGMA_DATA) -> Tensor:
    """The raw output of a network that saw x and predicts x0; the inverse of `precondition_output`."""
    c = scaling(sigma, sigma_data)
    return (x0 - c.c_skip * x) / c.c_out


def output_at_given_frames(latents: Tensor, x: Tensor, sigma: Tensor, sigma_data: float = SIGMA_DATA) -> Tensor:
    """What cosmos-predict1 puts in place of the network's output at given frames, its slip included.

    An output that makes x0 equal the latents is that of `output_of_x0`; the original divides the first term alone, and
    the given frames of its results have too much contrast.

    Source: cosmos-predict1, model/model_v2w.py (behaviour).
    """
    c = scaling(sigma, sigma_data)
    return latents / c.c_out - c.c_skip * x
