"""Noise schedules: the sigmas a sampler visits."""

from __future__ import annotations

import torch
from torch import Tensor


def karras_sigmas(num_steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Noise levels that fall from sigma_max to sigma_min, evenly spaced in sigma**(1/rho).

    Args:
        num_steps: updates the sampler makes, >= 1; the schedule has one level more.
    Returns:
        sigmas, (num_steps + 1,), float64, no final zero.
    Raises:
        ValueError: no steps, or a range that is not 0 < sigma_min < sigma_max.
    Source: Karras et al. 2022, arXiv:2206.00364, eq. 5, with num_steps + 1 levels as in cosmos-predict2.
    """
    if num_steps < 1 or not 0 < sigma_min < sigma_max:
        raise ValueError(f"no schedule of {num_steps} steps from {sigma_max} to {sigma_min}")
    fraction = torch.arange(num_steps + 1, dtype=torch.float64) / num_steps
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return (high + fraction * (low - high)) ** rho
