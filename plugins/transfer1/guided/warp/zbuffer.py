"""What the room view shows, as the wrist camera sees it.

Every pixel of the wrist view is a point in the world, for its depth is known; the point's colour is looked up in the
room view where the room camera sees it. Whether it does is decided by a z-buffer of the room camera, into which both
views are drawn: the nearest surface of each pixel hides what lies behind. So a magnified surface has no gaps, and what
is left open is what the room camera does not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cosmos_plugins.transfer1.controls.parallel import on_all_cores
from cosmos_plugins.transfer1.guided.views import Seen
from cosmos_plugins.transfer1.guided.warp.geometry import eye_in, pixels_between, rescaled
from cosmos_plugins.transfer1.guided.warp.surfaces import Surface, row_blocks, surface_of

# F frames, H and W pixel height and width, R rows, N points, P pixels of the room view, C colours

CPU_PIXELS, GPU_PIXELS = 2**17, 2**24
"""Pixels that are worked on at once: on a CPU what its cache holds, on a GPU a whole frame of any usual size."""

LEAST_WEIGHT = 1e-3
"""Of the pixels around a point, those on its surface; less is not seen."""


@dataclass(frozen=True)
class Warped:
    """The room view as the wrist camera sees it.

    frames_FHWC: uint8, black where nothing is known. covered_FHW: bool, where something is.
    """

    frames_FHWC: np.ndarray
    covered_FHW: np.ndarray


def warp(
    frames_FHWC: np.ndarray,
    room: Seen,
    wrist: Seen,
    *,
    foreground: Sequence[int],
    size: tuple[int, int],
    device: torch.device | str = "cpu",
) -> Warped:
    """Bring frames of the room view into the wrist view.

    The result does not depend on the device's order of work, nor on how many frames there are.

    Args:
        frames_FHWC: what to show, uint8, as many frames as the views have, of any size: a generated room view may be
            larger than the depth that belongs to it.
        room: gives depth, labels and camera; its own colours are not used.
        foreground: labels of the room view that are not to be shown. They hide what is behind them all the same.
        size: height and width of the result. Intrinsics and depth are brought to it, and to the size of the frames.
    """
    num_frames = len(frames_FHWC)
    if not num_frames == len(room.cameras) == len(wrist.cameras):
        raise ValueError(f"{num_frames} frames, {len(room.cameras)} of the room and {len(wrist.cameras)} of the wrist")
    shown = frames_FHWC.shape[1:3]
    room_cameras = rescaled(room.cameras, room.depth_FHW.shape[1:], shown)
    wrist_cameras = rescaled(wrist.cameras, wrist.depth_FHW.shape[1:], size)
    matrices_F33, offsets_F3 = pixels_between(wrist_cameras, room_cameras)
    eyes_F3 = eye_in(wrist_cameras, room_cameras)
    result = Warped(np.empty((num_frames, *size, 3), np.uint8), np.empty((num_frames, *size), bool))
    device = torch.device(device)
    pixels = CPU_PIXELS if device.type == "cpu" else GPU_PIXELS

    def put(array: np.ndarray, dtype: torch.dtype | None = None) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, dtype)

    def surface(seen: Seen, frame: int, of_size: tuple[int, int], left_out: Sequence[int]) -> Surface:
        depth_HW, labels_HW = put(seen.depth_FHW[frame], torch.float32), put(seen.labels_FHW[frame])
        return surface_of(depth_HW, labels_HW, of_size, left_out=left_out, pixels=pixels)

    def make(frame: int) -> None:
        matrix_33, offset_3, eye_3 = (put(each[frame], torch.float32) for each in (matrices_F33, offsets_F3, eyes_F3))
        shown_surface, surface_here = surface(room, frame, shown, foreground), surface(wrist, frame, size, ())
        colours_HWC, covered_HW = _warp_frame(
            put(frames_FHWC[frame]), shown_surface, surface_here, matrix_33, offset_3, eye_3, pixels
        )
        result.frames_FHWC[frame], result.covered_FHW[frame] = colours_HWC.cpu().numpy(), covered_HW.cpu().numpy()

    for _ in on_all_cores(make, range(num_frames)) if device.type == "cpu" else map(make, range(num_frames)):
        pass
    return result


def _warp_frame(
    frame_HWC: Tensor, room: Surface, wrist: Surface, matrix_33: Tensor, offset_3: Tensor, eye_3: Tensor, pixels: int
) -> tuple[Tensor, Tensor]:
    """Colours (H, W, 3) uint8 of the wrist view, and where they are known."""
    height, width = room.nearness_HW.shape
    nearest_P = room.nearness_HW.flatten().clone()
    parts = []
    wrist_height, wrist_width = wrist.nearness_HW.shape
    for rows in row_blocks(wrist_height, wrist_width, pixels):
        points = _seen_from_room(wrist[rows], rows.start, matrix_33, offset_3, eye_3, (height, width))
        nearest_P.scatter_reduce_(0, points.hits_N, points.nearness_N, "amax")
        parts.append(points)
    # a fourth colour, always 1, sums up the weights
    colours_P4 = F.pad(frame_HWC.view(-1, 3).float(), (0, 1), value=1.0)
    warped_HWC = frame_HWC.new_zeros(*wrist.nearness_HW.shape, 3)
    covered_HW = torch.zeros_like(wrist.nearness_HW, dtype=torch.bool)
    for points in parts:
        seen_N = points.nearness_N >= nearest_P[points.hits_N] - room.slack_HW.view(-1)[points.hits_N]
        seen_N &= points.is_front_N & (room.slack_HW.view(-1)[points.hits_N] >= 0)
        points = points[seen_N.nonzero().squeeze(1)]
        colours_N3, known_N = _look_up(points, room, colours_P4)
        warped_HWC.view(-1, 3)[points.pixels_N] = colours_N3
        covered_HW.view(-1)[points.pixels_N] = known_N
    return warped_HWC, covered_HW


@dataclass(frozen=True)
class _Points:
    """Of the wrist view, those that lie in the room camera's picture.

    pixels_N: of the wrist view, and hits_N: of the room view, both in row-major order.
    u_N, v_N: place in the room view, in pixels. nearness_N: 1 / depth there.
    is_front_N: whether the surface turns its front to the room camera.
    """

    pixels_N: Tensor
    hits_N: Tensor
    u_N: Tensor
    v_N: Tensor
    nearness_N: Tensor
    is_front_N: Tensor

    def __getitem__(self, which_M: Tensor) -> _Points:
        return _Points(*(getattr(self, field.name).index_select(0, which_M) for field in fields(self)))


def _seen_from_room(
    wrist: Surface, first_row: int, matrix_33: Tensor, offset_3: Tensor, eye_3: Tensor, size: tuple[int, int]
) -> _Points:
    """Points of some rows of the wrist view, in the room camera's picture of a size (height, width)."""
    num_rows, num_columns = wrist.nearness_HW.shape
    y_R1 = torch.arange(first_row, first_row + num_rows, dtype=torch.float32, device=eye_3.device)[:, None]
    x_W = torch.arange(num_columns, dtype=torch.float32, device=eye_3.device)

    def row(i: int) -> Tensor:
        flat_RW = (matrix_33[i, 1] * y_R1 + matrix_33[i, 2]) + matrix_33[i, 0] * x_W
        return flat_RW.add_(wrist.nearness_HW * offset_3[i])

    scale_RW = row(2).reciprocal_()
    u_RW, v_RW = row(0).mul_(scale_RW), row(1).mul_(scale_RW)
    # a pixel reaches half a pixel from its centre; comparisons with "not a number" are false
    inside_RW = (u_RW >= -0.5) & (u_RW < size[1] - 0.5) & (v_RW >= -0.5) & (v_RW < size[0] - 0.5)
    inside_RW &= (scale_RW > 0) & (wrist.slack_HW >= 0)
    # the nearness of a surface's plane at the eye's pixel, times the eye's depth, is 1 if the eye lies in the plane
    at_eye_RW = wrist.nearness_HW * eye_3[2]
    at_eye_RW += wrist.slope_x_HW * (eye_3[0] - x_W * eye_3[2])
    at_eye_RW += wrist.slope_y_HW * (eye_3[1] - y_R1 * eye_3[2])
    here_N = inside_RW.view(-1).nonzero().squeeze(1)
    u_N, v_N, scale_N, nearness_N, at_eye_N = (
        each_RW.reshape(-1).index_select(0, here_N) for each_RW in (u_RW, v_RW, scale_RW, wrist.nearness_HW, at_eye_RW)
    )
    hits_N = (v_N + 0.5).long() * size[1] + (u_N + 0.5).long()
    return _Points(here_N + first_row * num_columns, hits_N, u_N, v_N, nearness_N * scale_N, at_eye_N < 1)


def _look_up(points: _Points, room: Surface, colours_P4: Tensor) -> tuple[Tensor, Tensor]:
    """Colours (N, 3) uint8 at points of the room view, and whether any of the pixels around is on their surface."""
    height, width = room.nearness_HW.shape
    left_N, top_N = points.u_N.floor(), points.v_N.floor()
    right_N, below_N = points.u_N - left_N, points.v_N - top_N
    columns = [
        (x_N.clamp(0, width - 1).int(), part_N) for x_N, part_N in ((left_N, 1 - right_N), (left_N + 1, right_N))
    ]
    rows = [(y_N.clamp(0, height - 1).int(), part_N) for y_N, part_N in ((top_N, 1 - below_N), (top_N + 1, below_N))]
    places, weights = [], []
    for y_N, part_y_N in rows:
        for x_N, part_x_N in columns:
            place_N = y_N * width + x_N
            apart_N = room.nearness_HW.view(-1).index_select(0, place_N).sub_(points.nearness_N).abs_()
            is_same_N = apart_N <= room.slack_HW.view(-1).index_select(0, place_N)
            places.append(place_N)
            weights.append(part_x_N * part_y_N * is_same_N)
    sums_N4 = F.embedding_bag(
        torch.stack(places, 1), colours_P4, mode="sum", per_sample_weights=torch.stack(weights, 1)
    )
    known_N = sums_N4[:, 3] > LEAST_WEIGHT
    colours_N3 = (sums_N4[:, :3] / sums_N4[:, 3:].clamp(min=LEAST_WEIGHT) + 0.5).to(torch.uint8)
    return colours_N3 * known_N[:, None], known_N
