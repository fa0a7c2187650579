"""The surfaces that a depth map shows, at another size and without mixing what is in front with what is behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# H and W pixel height and width, R rows

TOLERANCE = 0.01
"""Two depths within this part of each other are one surface: 1 cm in 1 m. Simulated depth is far more exact, but
cameras may be recorded a moment before or after their picture."""

STEEPEST = 0.1
"""No surface is taken to change by a larger part from one pixel to the next: that is an edge."""


@dataclass(frozen=True)
class Surface:
    """What one frame tells of the surfaces that it shows, float32.

    nearness_HW: 1 / depth, in 1 / metres, which changes evenly along a plane. 0 is infinitely far.
    slack_HW: how much the nearness may differ for a point within one pixel to lie on the same surface; negative where
        nothing is known, or what is there is left out.
    slope_x_HW, slope_y_HW: how much the surface's nearness changes from one pixel to the next.
    """

    nearness_HW: Tensor
    slack_HW: Tensor
    slope_x_HW: Tensor
    slope_y_HW: Tensor

    def __getitem__(self, rows: slice) -> Surface:
        return Surface(self.nearness_HW[rows], self.slack_HW[rows], self.slope_x_HW[rows], self.slope_y_HW[rows])


def row_blocks(height: int, width: int, pixels: int) -> Iterator[slice]:
    """Rows of so many pixels at once, at least one row."""
    step = max(1, pixels // width)
    return (slice(start, min(start + step, height)) for start in range(0, height, step))


def surface_of(
    depth_HW: Tensor, labels_HW: Tensor, size: tuple[int, int], *, left_out: Sequence[int], pixels: int
) -> Surface:
    """The surfaces of one frame, at a size (height, width).

    Each new pixel continues the surface of the nearest old one, so that edges stay sharp and planes stay even.

    Args:
        depth_HW: float32, in metres; 0 or less is unknown.
        labels_HW: uint8, of the size of the depth.
        left_out: labels of pixels that no point shall lie on; they keep their nearness.
        pixels: how many to work on at once.
    """
    old_height, old_width = depth_HW.shape
    per_y, per_x = old_height / size[0], old_width / size[1]
    old_4HW = depth_HW.new_empty(4, old_height, old_width)
    for rows in row_blocks(old_height, old_width, pixels):
        # one row more on each side, where there is one
        around = slice(max(0, rows.start - 1), rows.stop + 1)
        inner = slice(rows.start - around.start, rows.stop - around.start)
        for plane_HW, plane_RW in zip(
            old_4HW, _measure(depth_HW[around], labels_HW[around], left_out, per_y, per_x), strict=True
        ):
            plane_HW[rows] = plane_RW[inner]
    if (old_height, old_width) == size:
        return Surface(*old_4HW)

    new_4HW = depth_HW.new_empty(4, *size)
    rows_H, beyond_H = _nearest(old_height, size[0], depth_HW.device)
    columns_W, beyond_W = _nearest(old_width, size[1], depth_HW.device)
    for rows in row_blocks(*size, pixels):
        part_4RW = old_4HW[:, rows_H[rows]][:, :, columns_W]
        part_4RW[0] += part_4RW[2] * (beyond_W / per_x) + part_4RW[3] * (beyond_H[rows, None] / per_y)
        new_4HW[:, rows] = part_4RW
    return Surface(*new_4HW)


def _measure(
    depth_RW: Tensor, labels_RW: Tensor, left_out: Sequence[int], per_y: float, per_x: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The fields of a `Surface`, at the old size, with slopes and slack per pixel of the new one.

    Args:
        per_y, per_x: old pixels in a new one.
    """
    known_RW = depth_RW > 0
    nearness_RW = torch.where(known_RW, 1 / depth_RW, 0)
    most_RW = nearness_RW * STEEPEST
    slope_x_RW, step_x_RW = _slopes(nearness_RW, most_RW, dim=1)
    slope_y_RW, step_y_RW = _slopes(nearness_RW, most_RW, dim=0)
    slack_RW = step_x_RW.mul_(per_x).add_(step_y_RW, alpha=per_y).add_(nearness_RW, alpha=TOLERANCE)
    for label in left_out:
        known_RW &= labels_RW != label
    return nearness_RW, slack_RW.masked_fill_(~known_RW, -1), slope_x_RW.mul_(per_x), slope_y_RW.mul_(per_y)


def _slopes(nearness_RW: Tensor, most_RW: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """How much a surface changes from one pixel to the next, and the most that it may have changed.

    Of the steps to the two neighbours the smaller is the surface's own where the other crosses an edge.
    """
    steps = nearness_RW.diff(dim=dim)
    count = steps.shape[dim]
    if count == 0:
        return torch.zeros_like(nearness_RW), torch.zeros_like(nearness_RW)
    before = torch.cat([steps.narrow(dim, 0, 1), steps], dim)
    after = torch.cat([steps, steps.narrow(dim, count - 1, 1)], dim)
    before_size, after_size = before.abs(), after.abs()
    smaller, larger = torch.minimum(before_size, after_size), torch.maximum(before_size, after_size)
    slopes = torch.where(before_size < after_size, before, after).minimum(most_RW).maximum(-most_RW)
    # a curved surface's steps differ, those at an edge differ by far
    may_change = smaller.mul_(2).add_(most_RW, alpha=TOLERANCE / STEEPEST).minimum(larger).minimum(most_RW)
    return slopes, may_change


def _nearest(old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of each new pixel along one axis: the nearest old one, and how far beyond its centre it is, in old pixels."""
    places = (torch.arange(new, dtype=torch.float64, device=device) + 0.5) * (old / new) - 0.5
    nearest = (places + 0.5).floor().clamp(0, old - 1)
    return nearest.long(), (places - nearest).float()
