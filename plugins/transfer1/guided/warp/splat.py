"""The room view warped as the published workflow does it, to compare with: blurred, and without a depth test.

Every pixel of the room view is spread over the wrist's pixels around the place where it lands, nearer ones with more
weight. Where several land on one pixel the last in row-major order counts, for that is what the workflow does on one
CPU thread; on a GPU its result is undefined, this one is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, hypot

import numpy as np
import torch
from torch import Tensor

from cosmos_plugins.transfer1.guided.views import Cameras, Seen
from cosmos_plugins.transfer1.guided.warp.geometry import pixels_between
from cosmos_plugins.transfer1.guided.warp.zbuffer import Warped

# F frames, H and W pixel height and width, N pixels of a frame, C colours

FARTHEST = 5.0
"""Metres; a room pixel's depth is taken to be no more."""

RADIUS = 6.0
"""Pixels that each one is spread over."""

FARTHER_COUNTS_LESS = 1.5
LEAST_WEIGHT = 1e-6


def splat(
    frames_FHWC: np.ndarray,
    room: Seen,
    wrist: Seen,
    *,
    foreground: Sequence[int],
    device: torch.device | str = "cpu",
) -> Warped:
    """Spread frames of the room view over the wrist view. Frames, depth and labels have one size.

    Args:
        foreground: labels of the room view that are not spread.
    Source: i4h-workflows, warper_transfered_video_gpu.py (behaviour).
    """
    height, width = room.depth_FHW.shape[1:]
    if frames_FHWC.shape[1:3] != (height, width):
        raise ValueError(f"frames of {frames_FHWC.shape[1:3]}, but depth of {(height, width)}")
    result = Warped(np.zeros_like(frames_FHWC), np.zeros((len(frames_FHWC), height, width), bool))
    shown_FHW = ~np.isin(room.labels_FHW, list(foreground))
    for i, frame_HWC in enumerate(frames_FHWC):
        points_N3 = land(room.depth_FHW[i], room.cameras[i : i + 1], wrist.cameras[i : i + 1])
        colours_CHW = torch.from_numpy(frame_HWC).to(device).permute(2, 0, 1).float() / 127.5 - 1
        spread_CHW, covered_HW = spread(
            colours_CHW, torch.from_numpy(shown_FHW[i]).to(device), points_N3.to(device), RADIUS
        )
        pixels_HWC = (spread_CHW * 127.5 + 127.5).permute(1, 2, 0).to(torch.uint8)
        result.frames_FHWC[i], result.covered_FHW[i] = pixels_HWC.cpu().numpy(), covered_HW.cpu().numpy()
    return result


def land(depth_HW: np.ndarray, room: Cameras, wrist: Cameras) -> Tensor:
    """Where the pixels of one room frame land in the wrist view: x, y and depth, (N, 3) float32."""
    matrices_F33, offsets_F3 = pixels_between(room, wrist)
    v_HW, u_HW = np.mgrid[: depth_HW.shape[0], : depth_HW.shape[1]].astype(np.float64)
    pixels_N3 = np.stack([u_HW, v_HW, np.ones_like(u_HW)], axis=-1).reshape(-1, 3)
    depth_N1 = depth_HW.astype(np.float64).clip(max=FARTHEST).reshape(-1, 1)
    scaled_N3 = depth_N1 * (pixels_N3 @ matrices_F33[0].T) + offsets_F3[0]
    return torch.from_numpy(np.concatenate([scaled_N3[:, :2] / scaled_N3[:, 2:], scaled_N3[:, 2:]], 1)).float()


def spread(colours_CHW: Tensor, shown_HW: Tensor, points_N3: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Colours (C, H, W) from -1 to 1 spread over the pixels around points, and whether each pixel got any, (H, W).

    Args:
        points_N3: x, y and depth at which each pixel, in row-major order, lands.
    """
    num_colours, height, width = colours_CHW.shape
    weights_N = shown_HW.reshape(-1) * depth_weights(points_N3)
    given_NC = torch.cat([colours_CHW.reshape(num_colours, -1).T * weights_N[:, None], weights_N[:, None]], 1)
    margin = ceil(radius) + 1
    landed_CHW = _landed(given_NC, points_N3[:, :2], (height, width), margin)
    sums_CHW = torch.zeros(num_colours + 1, height, width, device=colours_CHW.device)
    for y, x, part in _around(radius):
        top, left = margin - y, margin - x
        sums_CHW += part * landed_CHW[:, top : top + height, left : left + width]
    weights_HW = sums_CHW[-1]
    covered_HW = weights_HW > LEAST_WEIGHT
    return torch.where(covered_HW, sums_CHW[:-1] / (weights_HW + 1e-8), -1), covered_HW


def depth_weights(points_N3: Tensor) -> Tensor:
    """How much each point counts, (N,): the nearest one of a frame 1, the farthest 0.4."""
    depth_N = points_N3[:, 2].clamp(0, 1000)
    nearest, farthest = depth_N.min(), depth_N.max()
    return 1 / (1 + FARTHER_COUNTS_LESS * (depth_N - nearest) / (farthest - nearest).clamp(min=1e-8))


def _around(radius: float) -> list[tuple[int, int, float]]:
    """Offsets y, x within a radius, and what part of a pixel goes there."""
    reach = range(-int(radius), int(radius) + 1)
    parts = [(y, x, 1 - hypot(y, x) / radius) for y in reach for x in reach]
    return [each for each in parts if each[2] > 0]


def _landed(given_NC: Tensor, places_N2: Tensor, size: tuple[int, int], margin: int) -> Tensor:
    """What lands on each pixel and on a margin around them, (C, H + 2 margins, W + 2 margins).

    Each pixel goes to the four around its place. Each of the four is given by one source pixel alone, the last.
    """
    height, width = size[0] + 2 * margin, size[1] + 2 * margin
    low_N2 = places_N2.floor()
    part_N2 = places_N2 - low_N2
    order_N = torch.arange(len(given_NC), device=given_NC.device)
    total_PC = torch.zeros(height * width, given_NC.shape[1], device=given_NC.device)
    # far outside, a place is no longer a number that an index can hold
    low_N2 = low_N2.nan_to_num(nan=-1e6).clamp(-1e6, 1e6).long() + margin
    for y in (0, 1):
        for x in (0, 1):
            rows_N, columns_N = low_N2[:, 1] + y, low_N2[:, 0] + x
            inside_N = (rows_N >= 0) & (rows_N < height) & (columns_N >= 0) & (columns_N < width)
            share_N = (part_N2[:, 1] if y else 1 - part_N2[:, 1]) * (part_N2[:, 0] if x else 1 - part_N2[:, 0])
            places_M = (rows_N * width + columns_N)[inside_N]
            last_P = torch.full((height * width,), -1, device=given_NC.device)
            last_P = last_P.scatter_reduce(0, places_M, order_N[inside_N], "amax")
            hit_P = last_P >= 0
            winners = last_P[hit_P]
            total_PC[hit_P] += given_NC[winners] * share_N[winners, None]
    return total_PC.T.reshape(-1, height, width)
