"""The surfaces that a depth map shows, at another size and without mixing what is in front with what is behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cosmos_plugins.transfer1.guided.views import Seen

# F frames, H and W pixel height and width

TOLERANCE = 0.01
"""Two depths within this part of each other are one surface: 1 cm in 1 m. Simulated depth is far more exact, but
cameras may be recorded a moment before or after their picture."""

STEEPEST = 0.1
"""No surface is taken to change by a larger part from one pixel to the next: that is an edge."""


@dataclass(frozen=True)
class Surface:
    """What a view knows of the surfaces that it sees, float32.

    nearness_FHW: 1 / depth, in 1 / metres, which changes evenly along a plane. 0 is infinitely far.
    slack_FHW: how much the nearness may differ for a point within one pixel to lie on the same surface; negative where
        nothing is known, or what is there is left out.
    slope_x_FHW, slope_y_FHW: how much the surface's nearness changes from one pixel to the next.
    """

    nearness_FHW: Tensor
    slack_FHW: Tensor
    slope_x_FHW: Tensor
    slope_y_FHW: Tensor


def surface_of(
    seen: Seen, frames: slice, size: tuple[int, int], device: torch.device | str, left_out: Sequence[int] = ()
) -> Surface:
    """The surfaces of some frames, at a size (height, width).

    Each new pixel continues the surface of the nearest old one, so that edges stay sharp and planes stay even.

    Args:
        left_out: labels of pixels that no point shall lie on; they keep their nearness.
    """
    depth_FHW = torch.from_numpy(np.ascontiguousarray(seen.depth_FHW[frames], np.float32)).to(device)
    labels_FHW = torch.from_numpy(np.ascontiguousarray(seen.labels_FHW[frames])).to(device)
    known_FHW = depth_FHW > 0
    nearness_FHW = torch.where(known_FHW, 1 / depth_FHW, 0)
    slope_x_FHW, step_x_FHW = _slopes(nearness_FHW, dim=2)
    slope_y_FHW, step_y_FHW = _slopes(nearness_FHW, dim=1)
    taken_FHW = known_FHW & ~torch.isin(labels_FHW, torch.tensor(left_out, dtype=torch.uint8, device=device))
    old_height, old_width = depth_FHW.shape[1:]
    per_y, per_x = old_height / size[0], old_width / size[1]
    slack_FHW = (step_x_FHW * per_x).add_(step_y_FHW, alpha=per_y).add_(nearness_FHW, alpha=TOLERANCE)
    slack_FHW.masked_fill_(~taken_FHW, -1)
    if (old_height, old_width) == size:
        return Surface(nearness_FHW, slack_FHW, slope_x_FHW, slope_y_FHW)

    rows_H, beyond_H = _nearest(old_height, size[0], device)
    columns_W, beyond_W = _nearest(old_width, size[1], device)
    nearness_FHW, slack_FHW, slope_x_FHW, slope_y_FHW = (
        old_FHW[:, rows_H][:, :, columns_W] for old_FHW in (nearness_FHW, slack_FHW, slope_x_FHW, slope_y_FHW)
    )
    nearness_FHW = nearness_FHW + slope_x_FHW * beyond_W + slope_y_FHW * beyond_H[:, None]
    return Surface(nearness_FHW.clamp_(min=0), slack_FHW, slope_x_FHW.mul_(per_x), slope_y_FHW.mul_(per_y))


def _nearest(old: int, new: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Of each new pixel along one axis: the nearest old one, and how far beyond its centre it is, in old pixels."""
    places = (torch.arange(new, dtype=torch.float64, device=device) + 0.5) * (old / new) - 0.5
    nearest = (places + 0.5).floor().clamp(0, old - 1)
    return nearest.long(), (places - nearest).float()


def _slopes(nearness_FHW: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """How much a surface changes from one pixel to the next, and the most that it may have changed.

    Of the steps to the two neighbours the smaller is the surface's own where the other crosses an edge.
    """
    steps = nearness_FHW.diff(dim=dim)
    if steps.shape[dim] == 0:
        return torch.zeros_like(nearness_FHW), torch.zeros_like(nearness_FHW)
    first, last = steps.narrow(dim, 0, 1), steps.narrow(dim, steps.shape[dim] - 1, 1)
    before, after = torch.cat([first, steps], dim), torch.cat([steps, last], dim)
    before_size, after_size = before.abs(), after.abs()
    smaller, larger = torch.minimum(before_size, after_size), torch.maximum(before_size, after_size)
    most = STEEPEST * nearness_FHW
    slopes = torch.where(before_size < after_size, before, after)
    slopes = slopes.maximum(-most).minimum(most)
    # a curved surface's steps differ, those at an edge differ by far
    may_change = larger.minimum(2 * smaller + TOLERANCE * nearness_FHW).minimum(most)
    return slopes, may_change
