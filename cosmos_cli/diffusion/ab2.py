"""The second-order Adams-Bashforth sampler that every family but the EDM-Euler ones uses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x, sigma as a scalar tensor of x's dtype) -> denoised x0 of x's shape."""


def sample_ab2(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    on_step: Callable[[int, Tensor], None] | None = None,
    *,
    state_dtype: torch.dtype | None = None,
) -> Tensor:
    """Integrate from sigmas[0] to sigmas[-1] and return the denoised latents at the last level, in x's dtype.

    The first update is an Euler step in x0 form, the others use the two latest x0 (exponential Adams-Bashforth in
    log sigma). Arithmetic is in float64.

    Args:
        denoiser: called len(sigmas) times: before every update and once more at the last level.
        x: noise at level sigmas[0] (standard normal times sigmas[0]).
        sigmas: falling levels, (num_steps + 1,), float64; none may repeat.
        on_step: called after update i with (i, x).
        state_dtype: dtype of the latents between updates, x's own by default.
    Source: cosmos-predict2, schedulers/rectified_flow_scheduler.py and functional/runge_kutta.py (formulas);
        Zhang et al. 2023, arXiv:2308.02157 (refined exponential solver).
    """
    dtype = x.dtype
    state = x.to(state_dtype or dtype)
    levels = sigmas.tolist()
    x0_previous: Tensor | None = None
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(levels)):
        x0 = denoiser(state.to(dtype), level(sigma, x))
        if x0_previous is None:
            state = euler_step(state, x0, sigma, sigma_next)
        else:
            state = res_step(state, x0, x0_previous, levels[i - 1], sigma, sigma_next)
        x0_previous = x0
        if on_step:
            on_step(i, state)
    return denoiser(state.to(dtype), level(levels[-1], x)).to(dtype)


def level(sigma: float, x: Tensor) -> Tensor:
    """A noise level as the scalar that a denoiser takes, written where x is: copied there, it would wait for a GPU."""
    return x.new_full((), sigma)


def euler_step(x: Tensor, x0: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """From sigma to sigma_next along the line through x and x0."""
    ratio = sigma_next / sigma
    return ((1 - ratio) * x0.double() + ratio * x.double()).to(x.dtype)


def res_step(x: Tensor, x0: Tensor, x0_other: Tensor, sigma_other: float, sigma: float, sigma_next: float) -> Tensor:
    """From sigma to sigma_next with x0 taken as linear in log sigma, through its values at sigma and sigma_other.

    sigma_other is the level before (Adams-Bashforth) or one in between (midpoint rule).
    """
    h = math.log(sigma / sigma_next)
    c = math.log(sigma / sigma_other) / h
    phi_1 = -math.expm1(-h) / h
    phi_2 = (1 - phi_1) / h
    b_2 = phi_2 / c
    b_1 = phi_1 - b_2
    return (math.exp(-h) * x.double() + h * (b_1 * x0.double() + b_2 * x0_other.double())).to(x.dtype)
