"""The training loss of EDM networks, with learned uncertainty per noise level."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cosmos_cli.diffusion.edm import SIGMA_DATA


class FourierFeatures(nn.Module):
    """sqrt(2) * cos(x * freqs + phases): (B,) to (B, num_channels), computed in float32, returned in x's dtype."""

    freqs: Tensor
    phases: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.register_buffer("freqs", 2 * math.pi * torch.randn(num_channels))
        self.register_buffer("phases", 2 * math.pi * torch.rand(num_channels))

    def forward(self, x_B: Tensor) -> Tensor:
        angles = torch.outer(x_B.float(), self.freqs.float()) + self.phases.float()
        return (angles.cos() * math.sqrt(2)).to(x_B.dtype)


def log_variance_head(num_channels: int = 128) -> nn.Sequential:
    """Network from c_noise (B,) to the log variance (B, 1) of its error; published under `logvar.`"""
    return nn.Sequential(FourierFeatures(num_channels), nn.Linear(num_channels, 1, bias=False))


class EdmLoss(NamedTuple):
    """squared_error, weighted: per element, like x0. objective: (B, elements), what training minimises the mean of."""

    squared_error: Tensor
    weighted: Tensor
    objective: Tensor


def loss_weight(sigma: Tensor, sigma_data: float = SIGMA_DATA) -> Tensor:
    """Weight of the squared x0 error that makes the network's own error count alike at every sigma: 1 / c_out**2."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def edm_loss(x0_BCTHW: Tensor, predicted_BCTHW: Tensor, sigma_B: Tensor, log_variance_B1: Tensor | None) -> EdmLoss:
    """Loss of predicted denoised latents.

    Args:
        log_variance_B1: of the network's error at sigma, from `log_variance_head`; None for the plain weighted error.
            With it the objective is a Gaussian log likelihood, which may be negative.
    Source: cosmos-predict1, training/models/model_image.py (formulas); Kendall and Gal 2017, arXiv:1703.04977.
    """
    squared_error = (x0_BCTHW - predicted_BCTHW) ** 2
    weighted = squared_error * loss_weight(sigma_B).view(-1, 1, 1, 1, 1)
    objective = weighted.flatten(1)
    if log_variance_B1 is not None:
        objective = objective * (-log_variance_B1).exp() + log_variance_B1
    return EdmLoss(squared_error, weighted, objective)
