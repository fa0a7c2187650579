"""The samplers of the refined-exponential-solver (RES) family, which carry the latents in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from cosmos_cli.diffusion.ab2 import Denoiser, euler_step, level, res_step, sample_ab2

Solver = Literal["2ab", "1euler", "2mid"]
"""Two-step Adams-Bashforth (that of every published pipeline), Euler, and the midpoint rule."""


def sample_res(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    on_step: Callable[[int, Tensor], None] | None = None,
    *,
    solver: Solver = "2ab",
) -> Tensor:
    """Integrate from sigmas[0] to sigmas[-1] and return the denoised latents at the last level, in x's dtype.

    Between updates the latents stay in float64; the denoiser gets them, and sigma, in x's dtype.

    Args:
        denoiser: called once per update ("2mid": twice) and once more at the last level.
        x: latents at level sigmas[0].
        sigmas: falling levels, (num_steps + 1,), float64; none may repeat. The original counts evaluations: its N
            "steps" of "2mid" are N // 2 updates.
        on_step: called after update i with (i, x in float64).
    Raises:
        ValueError: no such solver.
    Source: cosmos-transfer1, diffusion/modules/res_sampler.py (formulas); Zhang et al. 2023, arXiv:2308.02157.
    """
    if solver == "2ab":
        return sample_ab2(denoiser, x, sigmas, on_step, state_dtype=torch.float64)
    if solver not in get_args(Solver):
        raise ValueError(f"no solver {solver!r}; there are {', '.join(get_args(Solver))}")

    def denoised(state: Tensor, sigma: float) -> Tensor:
        return denoiser(state.to(x.dtype), level(sigma, x))

    state = x.double()
    levels = sigmas.tolist()
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(levels)):
        x0 = denoised(state, sigma)
        if solver == "1euler":
            state = euler_step(state, x0, sigma, sigma_next)
        else:
            middle = math.sqrt(sigma * sigma_next)
            x0_middle = denoised(euler_step(state, x0, sigma, middle), middle)
            state = res_step(state, x0, x0_middle, middle, sigma, sigma_next)
        if on_step:
            on_step(i, state)
    return denoised(state, levels[-1]).to(x.dtype)
