"""Where the regions of a video lie: from boxes and masks to the tokens of the network.

A region is kept as a map over the latent grid, one per pixel frame, so that any chunk of frames can be taken out of it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.files.documents import read_json
from cosmos_cli.media.video import read_video
from cosmos_plugins.transfer1.regional_prompts import Box, checked_box

# F frames, H and W pixel height and width; h and w height and width of the latent grid
# R regions, N tokens; a grid of tokens is (t, rows, columns): latent frames and patches

MAX_BOXES = 10_000
"""Of one region."""

_FRAMES_AT_ONCE = 32
_USE_A_MASK = "Give a mask video, which is bright in the region."


def read_region(region: Box | Path, num_frames: int, grid_hw: tuple[int, int], *, where: str) -> np.ndarray:
    """A box, the boxes in a .json file or the mask in a video, as a map (num_frames, h, w) in [0, 1], float32.

    Args:
        grid_hw: height and width of the output video in latents.
        where: the field that is named in errors.
    Raises:
        InputError: a file cannot be read or holds something else, a mask video is too short, or the region is empty.
    """
    if isinstance(region, Path) and region.suffix.lower() != ".json":
        mask_FHW = read_mask_video(region)
        if len(mask_FHW) < num_frames:
            raise InputError(
                f"{region} has {len(mask_FHW)} frames, fewer than the {num_frames} of the video.",
                where=where,
                fix="Give a mask video of the input's length, or cut the input.",
            )
        if len(mask_FHW) > num_frames:
            output.notice(f"{region} has {len(mask_FHW)} frames; the first {num_frames} are used")
        map_Fhw = to_latent_grid(mask_FHW[:num_frames], grid_hw)
    else:
        boxes = read_boxes(region) if isinstance(region, Path) else [region]
        map_hw = functools.reduce(np.maximum, (box_map(box, grid_hw) for box in boxes))
        map_Fhw = np.broadcast_to(map_hw, (num_frames, *grid_hw))
    if not (map_Fhw > 0.5).any():
        h, w = grid_hw
        shown = region if isinstance(region, Path) else list(region)
        raise InputError(
            f"the region {shown} covers nothing of the video, whose smallest part is 1/{w} wide and 1/{h} high.",
            where=where,
            fix="Give a larger region.",
        )
    return map_Fhw


def read_mask_video(path: Path) -> np.ndarray:
    """A mask video as (F, H, W) bool: where a pixel is brighter than half, in any colour.

    Raises:
        InputError: the file is not a video or is truncated.
    """
    return read_video(path, lambda image_HWC: image_HWC.max(axis=-1) > 127).frames_FHWC


def read_boxes(path: Path) -> list[Box]:
    """The boxes in a JSON file, a list of [x1, y1, x2, y2].

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    document = read_json(path)
    if not isinstance(document, list) or not document:
        raise InputError("must hold a list of boxes, such as [[0, 0, 0.5, 1]].", where=str(path))
    if len(document) > MAX_BOXES:
        raise InputError(f"holds {len(document):,} boxes, more than {MAX_BOXES:,}.", where=str(path), fix=_USE_A_MASK)
    try:
        return [checked_box(value) for value in document]
    except ValueError as error:
        raise InputError(str(error), where=str(path)) from error


def box_map(box: Box, grid_hw: tuple[int, int]) -> np.ndarray:
    """1 inside the box and 0 outside, (h, w) float32; edges are rounded down to the latent grid.

    Source: cosmos-transfer1, utils/regional_prompting_utils.py (behaviour).
    """
    h, w = grid_hw
    x1, y1, x2, y2 = box
    map_hw = np.zeros(grid_hw, np.float32)
    map_hw[int(y1 * h) : int(y2 * h), int(x1 * w) : int(x2 * w)] = 1
    return map_hw


def to_latent_grid(mask_FHW: np.ndarray, grid_hw: tuple[int, int]) -> np.ndarray:
    """A mask of any size as a map (F, h, w) in [0, 1], float32.

    Sampled linearly, not averaged: of the 8 x 8 pixels that one latent stands for, the four in the middle count.

    Source: cosmos-transfer1, utils/regional_prompting_utils.py (behaviour).
    """
    parts = []
    # float32 of a whole clip at full size would take gigabytes
    for first in range(0, len(mask_FHW), _FRAMES_AT_ONCE):
        part_F1HW = torch.tensor(mask_FHW[first : first + _FRAMES_AT_ONCE], dtype=torch.float32)[:, None]
        parts.append(F.interpolate(part_F1HW, size=grid_hw, mode="bilinear", align_corners=False)[:, 0])
    return torch.cat(parts).numpy()


def token_masks(maps_Fhw: Sequence[np.ndarray], grid_thw: tuple[int, int, int]) -> Tensor:
    """Which tokens lie in which regions, (R, N) bool; tokens are ordered (frame, row, column).

    Args:
        maps_Fhw: a map of each region, all frames of one chunk.
        grid_thw: latent frames, and rows and columns of patches.
    Raises:
        ValueError: so many frames do not make t latent frames.
    """
    return torch.stack([to_token_grid(map_Fhw, grid_thw).flatten() for map_Fhw in maps_Fhw])


def to_token_grid(map_Fhw: np.ndarray, grid_thw: tuple[int, int, int]) -> Tensor:
    """Which tokens lie in a region, (t, rows, columns) bool: those that are in it by more than half.

    As in the tokenizer, the first frame stands alone and every eight others make one, the last group may be shorter;
    the two in the middle of the eight count.

    Raises:
        ValueError: so many frames do not make t latent frames.
    Source: cosmos-transfer1, diffusion/module/attention.py (behaviour).
    """
    t, rows, columns = grid_thw
    num_frames = len(map_Fhw)
    if t != 1 + math.ceil((num_frames - 1) / 8):
        raise ValueError(f"a region of {num_frames} frames does not go with {t} latent frames")
    map_11Fhw = torch.tensor(map_Fhw)[None, None]
    groups = [map_11Fhw[:, :, :1], *map_11Fhw[:, :, 1:].split(8, dim=2)] if t > 1 else [map_11Fhw]
    latents = [F.interpolate(group, size=(1, rows, columns), mode="trilinear", align_corners=False) for group in groups]
    return torch.cat(latents, dim=2)[0, 0] > 0.5
