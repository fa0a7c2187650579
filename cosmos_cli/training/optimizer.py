"""From gradients to new weights: clipping, AdamW, and the factor on its rate."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from cosmos_cli.training.gradients import groups, scale_gradients
from cosmos_cli.training.recipe import OptimizerRecipe, ScheduleRecipe

_CLIP_EPS = 1e-6


def rate_factor(schedule: ScheduleRecipe, step: int) -> float:
    """The factor on the rate of step `step`, counted from 0.

    Every cycle begins with its own warm-up, and its last step still belongs to it. After the last cycle its end holds.

    Source: cosmos-predict1 4ed35fa, diffusion/training/functional/lr_scheduler.py (behaviour).
    """
    ends = list(itertools.accumulate(schedule.cycle_lengths))
    cycle = min(bisect.bisect_left(ends, step), len(ends) - 1)
    length, warm_up = schedule.cycle_lengths[cycle], schedule.warm_up_steps[cycle]
    n = min(step - (ends[cycle] - length), length)
    start, high, low = schedule.f_start[cycle], schedule.f_max[cycle], schedule.f_min[cycle]
    if n < warm_up:
        return start + (high - start) * n / warm_up
    share = (n - warm_up) / (length - warm_up)
    if schedule.kind == "cosine":
        return low + (high - low) * (1 + math.cos(math.pi * share)) / 2
    return low + (high - low) * (1 - share)


def adamw(recipe: OptimizerRecipe, parameters: Mapping[str, nn.Parameter]) -> torch.optim.AdamW:
    """AdamW over these parameters, all decayed alike."""
    is_fused = all(parameter.device.type == "cuda" for parameter in parameters.values())
    return torch.optim.AdamW(
        groups(parameters.items()),
        lr=recipe.lr,
        betas=recipe.betas,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        fused=is_fused or None,
    )


def clip(parameters: Iterable[nn.Parameter], norm: Tensor, largest: float) -> None:
    """Scale all gradients, whose norm is `norm`, so that it is at most `largest`."""
    scale_gradients(parameters, (largest / (norm + _CLIP_EPS)).clamp(max=1.0))
