"""Rotary position embedding over time, height and width.

Each token's angles are its three coordinates times three sets of frequencies, so a table depends on the patch grid
alone: build it once per generation and reuse it in every block and at every step.
"""

# B batch, L tokens (time-major, then height, then width), H heads, D head width, R = D / 2 rotated pairs
# T, H, W in a grid: patches along time, height and width

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cosmos_cli.models.configs import GridTHW


class RotaryTable(NamedTuple):
    """Cosine and sine of every token's angles, (L, R) each, float32.

    whole_grid_THW: where the tokens are one rank's share of a video's, the grid of all; else None.
    """

    cos_LR: Tensor
    sin_LR: Tensor
    whole_grid_THW: GridTHW | None = None

    @classmethod
    def from_angles(cls, angles_LR: Tensor) -> RotaryTable:
        return cls(angles_LR.cos(), angles_LR.sin())

    def tokens(self, start: int, stop: int) -> RotaryTable:
        """The rows of tokens start ... stop - 1, for a rank that holds only a part of the sequence."""
        return RotaryTable(self.cos_LR[start:stop], self.sin_LR[start:stop])


def axis_dims(head_dim: int) -> tuple[int, int, int]:
    """How many of the `head_dim` channels turn with time, height and width: height and width get a third each, made
    even, time the rest."""
    spatial = head_dim // 6 * 2
    return head_dim - 2 * spatial, spatial, spatial


def rope_angles(
    grid_THW: GridTHW,
    *,
    head_dim: int,
    extrapolation_ratios_THW: tuple[float, float, float],
    seconds_scale: tuple[float, float] | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Angles of every token, (L, R) float32 in radians, R = [time, height, width] frequencies.

    Args:
        grid_THW: patches along time, height and width; positions count from 0.
        head_dim: channels per attention head, even and at least 12.
        extrapolation_ratios_THW: how far each axis is stretched past the training size; 1 is not at all.
        seconds_scale: (fps, base_fps): temporal positions become position / fps * base_fps. None leaves them whole.
        dtype: what exponents, frequencies and angles are rounded to on the way. The published networks held these
            in bfloat16, which moves angles by up to 0.2 rad: the weights were tuned to run with exactly that table.
    Source: cosmos-predict2 661da47, models/text2image_dit.py (VideoRopePosition3DEmb); NTK-aware scaling of
        Su et al. 2021, arXiv:2104.09864.
    """
    angles = []
    for axis, (length, dim, ratio) in enumerate(
        zip(grid_THW, axis_dims(head_dim), extrapolation_ratios_THW, strict=True)
    ):
        exponents = (torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim).to(dtype)
        theta = 10000.0 * ratio ** (dim / (dim - 2))
        positions = torch.arange(length, dtype=dtype, device=device)
        if axis == 0 and seconds_scale is not None:
            fps, base_fps = seconds_scale
            positions = positions / torch.full((), fps, dtype=dtype, device=device) * base_fps
        angles.append(torch.outer(positions, 1.0 / theta**exponents).float())
    time, height, width = angles
    return torch.cat(
        [
            time[:, None, None, :].expand(*grid_THW, -1),
            height[None, :, None, :].expand(*grid_THW, -1),
            width[None, None, :, :].expand(*grid_THW, -1),
        ],
        dim=-1,
    ).flatten(0, 2)


def rotate(x_BLHD: Tensor, table: RotaryTable) -> Tensor:
    """Turns each channel pair (j, j + R) of every head by its token's angle; float32 inside, rounded once at the end.

    Source: the half-split form of Su et al. 2021, arXiv:2104.09864, eq. 34.
    """
    cos, sin = table.cos_LR[:, None], table.sin_LR[:, None]
    first, second = x_BLHD.float().chunk(2, dim=-1)
    turned_first = torch.addcmul(first * cos, second, sin, value=-1)
    turned_second = torch.addcmul(second * cos, first, sin)
    return torch.cat([turned_first, turned_second], dim=-1).to(x_BLHD.dtype)
