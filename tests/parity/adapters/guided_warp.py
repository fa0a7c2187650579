"""Guided generation: the room view warped to the wrist camera as the original does it, and what is made of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cosmos_plugins.transfer1.guided.controls import stacked
from cosmos_plugins.transfer1.guided.views import Cameras, Seen
from cosmos_plugins.transfer1.guided.warp.composition import Composition, below_room, compose
from cosmos_plugins.transfer1.guided.warp.geometry import extrinsics
from cosmos_plugins.transfer1.guided.warp.splat import depth_weights, land, splat, spread
from tests.parity.adapters.base import Adapter, Outputs
from tests.parity.golden import Comparison, Golden, compare

FOREGROUND = [3, 4]
COLOURS = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))
"""Of the labels 0 to 4 in the file."""


def warp_room_to_wrist(golden: Golden) -> Outputs:
    room, wrist = _views(golden)
    ours: Outputs = {
        "extrinsic_room": torch.from_numpy(extrinsics(room.cameras)),
        "extrinsic_wrist": torch.from_numpy(extrinsics(wrist.cameras)),
    }
    warped = splat(room.rgb_FHW3, room, wrist, foreground=FOREGROUND)
    for name, fill in (("plain", False), ("filled", True)):
        composed = compose(warped, wrist, foreground=FOREGROUND, fill=fill, reference=True)
        ours |= _saved(name, composed)
    both = stacked(room.rgb_FHW3, composed.frames_FHWC)
    ours |= _saved("filled_concat", Composition(np.asarray(both), below_room(composed.planes_2FHW)))
    regions = ours["plain.roi_masks_npz"][0] + 2 * ours["plain.roi_masks_npz"][1]
    ours["plain.roi_masks_video"] = (regions * 127.5).to(torch.uint8)
    return ours | {f"frame0.{name}": tensor for name, tensor in _first_frame(room, wrist).items()}


def _views(golden: Golden) -> tuple[Seen, Seen]:
    given = {name: tensor.numpy() for name, tensor in golden.inputs.items()}
    labels = np.zeros(given["seg"].shape[:-1], np.uint8)
    for label, colour in enumerate(COLOURS):
        labels[(given["seg"] == colour).all(-1)] = label
    room, wrist = (
        Seen(
            given[name],
            given["depth"][:, i, ..., 0],
            labels[:, i],
            Cameras(given[f"K{i + 1}"], given[f"pos{i + 1}"], given[f"q{i + 1}"]),
        )
        for i, name in enumerate(("room", "wrist"))
    )
    return room, wrist


def _saved(name: str, composed: Composition) -> Outputs:
    return {
        f"{name}.warped_video": torch.from_numpy(composed.frames_FHWC),
        f"{name}.roi_masks_npz": torch.from_numpy(composed.planes_2FHW),
    }


def _first_frame(room: Seen, wrist: Seen) -> Outputs:
    points_N3 = land(room.depth_FHW[0], room.cameras[:1], wrist.cameras[:1])
    homogeneous_N3 = torch.cat([points_N3[:, :2] * points_N3[:, 2:], points_N3[:, 2:]], dim=1)
    colours_CHW = torch.from_numpy(room.rgb_FHW3[0]).permute(2, 0, 1) / 127.5 - 1
    shown_HW = torch.from_numpy(~np.isin(room.labels_FHW[0], FOREGROUND))
    ours: Outputs = {"labels": torch.from_numpy(room.labels_FHW[0]), "transformed_points": homogeneous_N3[None]}
    for radius in (1, 2, 6):
        spread_CHW, covered_HW = spread(colours_CHW, shown_HW, points_N3, radius)
        ours[f"radius{radius}.warped"] = spread_CHW[None]
        ours[f"radius{radius}.mask"] = covered_HW[None, None].float()
    sampled_CHW, mask_HW = _sampled(colours_CHW, shown_HW, points_N3)
    ours["grid_sample_path.warped"], ours["grid_sample_path.mask"] = sampled_CHW[None], mask_HW[None, None].float()
    return ours


def _sampled(colours_CHW: Tensor, shown_HW: Tensor, points_N3: Tensor) -> tuple[Tensor, Tensor]:
    """A path of the original that its workflow never takes: it looks up where points land instead of spreading them."""
    height, width = shown_HW.shape
    places_HW2 = (points_N3[:, :2] / torch.tensor([width - 1, height - 1]) * 2 - 1).view(1, height, width, 2)
    planes_CHW = torch.cat([colours_CHW, depth_weights(points_N3).view(1, height, width), shown_HW[None].float()])
    looked_up_CHW = F.grid_sample(planes_CHW[None], places_HW2, align_corners=True)[0]
    return looked_up_CHW[:3] * looked_up_CHW[3], looked_up_CHW[4] > 0.5


def judge(name: str, ours: Tensor | None, golden: Tensor) -> Comparison:
    """Videos may differ by one step of 255, where rounding falls to the other side; masks and labels are exact."""
    found = compare(name, ours, golden, whole_loop=False)
    return replace(found, limit=1.0) if name.endswith("warped_video") else found


ADAPTERS = {"guided/warp_room_to_wrist": Adapter(warp_room_to_wrist, judge=judge)}
