"""What the room view shows, as the wrist camera sees it.

Every pixel of the wrist view is a point in the world, for its depth is known; the point's colour is looked up in the
room view where the room camera sees it. Whether it does is decided by a z-buffer of the room camera, into which both
views are drawn: the nearest surface of each pixel hides what lies behind. So a magnified surface has no gaps, and what
is left open is what the room camera does not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cosmos_plugins.transfer1.guided.geometry import eye_in, pixels_between, rescaled
from cosmos_plugins.transfer1.guided.surfaces import Surface, surface_of
from cosmos_plugins.transfer1.guided.views import Seen

# F frames, H and W pixel height and width, N pixels of all frames, C colours

PIXELS_AT_ONCE = 2**20
"""Of the larger view; bounds the memory at some 200 MB, whatever the length and size of the videos."""

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
        raise ValueError(
            f"{num_frames} frames, but {len(room.cameras)} of the room and {len(wrist.cameras)} of the wrist"
        )
    shown = frames_FHWC.shape[1:3]
    result = Warped(np.zeros((num_frames, *size, 3), np.uint8), np.zeros((num_frames, *size), bool))
    room_cameras = rescaled(room.cameras, room.depth_FHW.shape[1:], shown)
    wrist_cameras = rescaled(wrist.cameras, wrist.depth_FHW.shape[1:], size)
    matrices_F33, offsets_F3 = pixels_between(wrist_cameras, room_cameras)
    eyes_F3 = eye_in(wrist_cameras, room_cameras)
    step = max(1, PIXELS_AT_ONCE // max(size[0] * size[1], shown[0] * shown[1]))
    for start in range(0, num_frames, step):
        part = slice(start, start + step)
        colours_NC, covered_N = _warp_part(
            torch.from_numpy(np.ascontiguousarray(frames_FHWC[part])).to(device),
            surface_of(room, part, shown, device, left_out=foreground),
            surface_of(wrist, part, size, device),
            *(torch.from_numpy(poses[part]).to(device, torch.float32) for poses in (matrices_F33, offsets_F3, eyes_F3)),
        )
        result.frames_FHWC[part] = colours_NC.view(-1, *size, 3).cpu().numpy()
        result.covered_FHW[part] = covered_N.view(-1, *size).cpu().numpy()
    return result


def _warp_part(
    frames_FHWC: Tensor, room: Surface, wrist: Surface, matrices_F33: Tensor, offsets_F3: Tensor, eyes_F3: Tensor
) -> tuple[Tensor, Tensor]:
    """Colours (N, 3) uint8 and whether they are known (N,), of the wrist's pixels in row-major order."""
    height, width = room.nearness_FHW.shape[1:]
    u_FHW, v_FHW, nearness_FHW = _seen_from_room(wrist.nearness_FHW, matrices_F33, offsets_F3)
    # a pixel reaches half a pixel from its centre; comparisons with "not a number" are false
    inside_FHW = (u_FHW >= -0.5) & (u_FHW < width - 0.5) & (v_FHW >= -0.5) & (v_FHW < height - 0.5)
    inside_FHW &= (nearness_FHW >= 0) & (wrist.slack_FHW >= 0)
    facing_FHW = _faces(wrist, eyes_F3)
    points_N = inside_FHW.flatten().nonzero().squeeze(1)
    u_N, v_N, nearness_N = (each_FHW.flatten()[points_N] for each_FHW in (u_FHW, v_FHW, nearness_FHW))
    first_N = points_N // u_FHW[0].numel() * (height * width)

    hits_N = first_N + (v_N + 0.5).long() * width + (u_N + 0.5).long()
    room_nearness_P, slack_P = room.nearness_FHW.flatten(), room.slack_FHW.flatten()
    nearest_P = room_nearness_P.scatter_reduce(0, hits_N, nearness_N, "amax")
    open_N = (nearness_N >= nearest_P[hits_N] - slack_P[hits_N]) & (slack_P[hits_N] >= 0)
    open_N &= facing_FHW.flatten()[points_N]
    points_N, u_N, v_N, nearness_N, first_N = (each_N[open_N] for each_N in (points_N, u_N, v_N, nearness_N, first_N))

    left_N, top_N = u_N.floor(), v_N.floor()
    right_N, below_N = u_N - left_N, v_N - top_N
    places, weights = [], []
    for x_N, part_x_N in ((left_N, 1 - right_N), (left_N + 1, right_N)):
        for y_N, part_y_N in ((top_N, 1 - below_N), (top_N + 1, below_N)):
            place_N = first_N + y_N.clamp(0, height - 1).long() * width + x_N.clamp(0, width - 1).long()
            is_same_N = (room_nearness_P[place_N] - nearness_N).abs() <= slack_P[place_N]
            places.append(place_N)
            weights.append(part_x_N * part_y_N * is_same_N)
    # a fourth colour, always 1, sums up the weights
    colours_P4 = F.pad(frames_FHWC.view(-1, 3).float(), (0, 1), value=1.0)
    sums_N4 = F.embedding_bag(
        torch.stack(places, 1), colours_P4, mode="sum", per_sample_weights=torch.stack(weights, 1)
    )
    known_N = sums_N4[:, 3] > LEAST_WEIGHT
    colours_N3 = (sums_N4[:, :3] / sums_N4[:, 3:].clamp(min=LEAST_WEIGHT) + 0.5).to(torch.uint8)
    covered_N = torch.zeros(u_FHW.numel(), dtype=torch.bool, device=u_FHW.device)
    covered_N[points_N] = known_N
    warped_N3 = torch.zeros((u_FHW.numel(), 3), dtype=torch.uint8, device=u_FHW.device)
    warped_N3[points_N] = colours_N3 * known_N[:, None]
    return warped_N3, covered_N


def _faces(wrist: Surface, eyes_F3: Tensor) -> Tensor:
    """Whether the wrist's surfaces turn their front to the room camera, (F, H, W): both cameras are on one side."""
    height, width = wrist.nearness_FHW.shape[1:]
    eye_x, eye_y, eye_depth = (eyes_F3[:, i, None, None] for i in range(3))
    y_H1 = torch.arange(height, dtype=torch.float32, device=eyes_F3.device)[:, None]
    x_W = torch.arange(width, dtype=torch.float32, device=eyes_F3.device)
    # the plane's own nearness at the eye's pixel, times the eye's depth: 1 if the eye lies in the plane
    at_eye_FHW = wrist.nearness_FHW * eye_depth
    at_eye_FHW.addcmul_(wrist.slope_x_FHW, eye_x - x_W * eye_depth)
    at_eye_FHW.addcmul_(wrist.slope_y_FHW, eye_y - y_H1 * eye_depth)
    return at_eye_FHW < 1


def _seen_from_room(nearness_FHW: Tensor, matrices_F33: Tensor, offsets_F3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the room camera has each point of the wrist view, in pixels, and how near; nearness < 0 is behind it."""
    height, width = nearness_FHW.shape[1:]
    y_H = torch.arange(height, dtype=torch.float32, device=nearness_FHW.device)
    x_W = torch.arange(width, dtype=torch.float32, device=nearness_FHW.device)

    def row(i: int) -> Tensor:
        by_x, by_y, by_1 = (matrices_F33[:, i, j, None] for j in range(3))
        flat_FHW = (by_y * y_H + by_1)[:, :, None] + (by_x * x_W)[:, None, :]
        return flat_FHW.add_(nearness_FHW * offsets_F3[:, i, None, None])

    scale_FHW = row(2).reciprocal_()
    ahead_FHW = torch.where(scale_FHW > 0, nearness_FHW * scale_FHW, -1)
    return row(0).mul_(scale_FHW), row(1).mul_(scale_FHW), ahead_FHW
