"""How strongly each control acts: one number each, or maps over time and space, which sum to at most 1 everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# N controls, F frames, H and W pixel height and width; t latent frames, h and w patch rows and columns
# The originals work in bfloat16 throughout, and 0.3 acts as 0.30078125.

Weight = float | np.ndarray | Tensor
"""A number, or a map (H, W) or (F, H, W)."""


def has_maps(weights: Sequence[Weight]) -> bool:
    """Whether any of the weights is a map; then all of them become maps."""
    return any(isinstance(weight, np.ndarray | Tensor) for weight in weights)


def normalise_numbers(weights: Sequence[float]) -> Tensor:
    """Weights (N,), bfloat16, divided by their sum where that is above 1."""
    numbers = torch.tensor(weights, dtype=torch.bfloat16)
    return numbers / numbers.sum().clip(min=1)


def normalise_maps(weights: Sequence[Weight], num_frames: int, height: int, width: int) -> Tensor:
    """Weight maps (N, 1, 1, num_frames, height, width), bfloat16, divided by their sum wherever that is above 1.

    Args:
        weights: a number acts everywhere, a map (H, W) at all times; maps of another length or size are resampled,
            and negative values count as 0.
    Raises:
        ValueError: a map has neither two nor three axes.
    Source: cosmos-transfer1, inference/inference_utils.py (behaviour).
    """
    size = (num_frames, height, width)
    maps_N11FHW = torch.stack([_as_map(weight, size) for weight in weights])[:, None, None]
    return maps_N11FHW / maps_N11FHW.sum(dim=0, keepdim=True).clip(min=1)


def _as_map(weight: Weight, size_FHW: tuple[int, int, int]) -> Tensor:
    if not isinstance(weight, np.ndarray | Tensor):
        return torch.full(size_FHW, weight, dtype=torch.bfloat16).clamp(min=0)
    given = torch.as_tensor(weight).to(torch.bfloat16)
    if given.ndim not in (2, 3):
        raise ValueError(f"a weight map has two or three axes, not the shape {tuple(given.shape)}")
    if given.ndim == 2:
        given = given.expand(size_FHW[0], -1, -1)
    if given.shape != size_FHW:
        given = F.interpolate(given[None, None], size=size_FHW, mode="trilinear", align_corners=False)[0, 0]
    return given.clamp(min=0)


def to_patch_grid(maps_N11FHW: Tensor, grid_thw: tuple[int, int, int]) -> Tensor:
    """Weight maps at the patches of the network, (N, 1, 1, t, h, w), in their own dtype.

    As in the tokenizer, the first frame stands alone and every eight others make one; unlike there, two of the eight
    and two by two pixels of each patch are sampled, not averaged over.

    Raises:
        ValueError: the maps have neither t frames nor the 8 (t - 1) + 1 that t latent frames stand for.
    Source: cosmos-transfer1, inference/inference_utils.py (behaviour).
    """
    if maps_N11FHW.shape[3:] == grid_thw:
        return maps_N11FHW
    t, h, w = grid_thw
    num_frames = maps_N11FHW.shape[3]
    if num_frames not in (t, 8 * (t - 1) + 1):
        raise ValueError(f"weight maps of {num_frames} frames do not go with {t} latent frames")
    first, rest = maps_N11FHW[:, 0, :, :1], maps_N11FHW[:, 0, :, 1:]
    parts = [F.interpolate(first, size=(1, h, w), mode="trilinear", align_corners=False)]
    if t > 1:
        parts.append(F.interpolate(rest, size=(t - 1, h, w), mode="trilinear", align_corners=False))
    return torch.cat(parts, dim=2)[:, None]


def stretch_time(map_FHW: np.ndarray, num_frames: int) -> np.ndarray:
    """A weight map over a whole clip brought to the clip's number of frames, linearly in time."""
    if len(map_FHW) == num_frames:
        return map_FHW
    size = (num_frames, *map_FHW.shape[1:])
    given = torch.from_numpy(np.ascontiguousarray(map_FHW)).float()[None, None]
    return F.interpolate(given, size=size, mode="trilinear", align_corners=False)[0, 0].numpy()
