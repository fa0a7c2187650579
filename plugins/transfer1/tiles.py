"""Overlapping tiles: a large picture or latent cut into pieces of the size that a network knows, and put together."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cosmos_plugins.transfer1.variants import LATENT_PX, UPSCALE_FACTOR

# N tiles, row by row; B batch, C channel, T frame, H and W height and width of the whole, h and w of a tile

_SEAMS_PX = 2 * LATENT_PX
"""The two seams of an axis together, when each is as wide as a latent."""


def upscaled_size(height: int, width: int, aspect_ratio: str, overlap_px: int) -> tuple[int, int]:
    """Height and width of the canvas that 3 x 3 tiles of height x width cover, their overlaps taken off.

    Args:
        aspect_ratio: nominal width:height, such as "16:9"; the shorter side overlaps less in its proportion.
        overlap_px: what both seams along the longer side overlap together.
    Source: cosmos-transfer1, inference/inference_utils.py (behaviour).
    """
    x, y = (int(part) for part in aspect_ratio.split(":"))
    # whole latents, which the published 256 pixels are for every aspect ratio
    overlap_h, overlap_w = (int(overlap_px * side / max(x, y)) // _SEAMS_PX * _SEAMS_PX for side in (y, x))
    return UPSCALE_FACTOR * height - overlap_h, UPSCALE_FACTOR * width - overlap_w


def tiles_of_frames(frames_FHWC: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    """Tiles of height x width of every frame, (F, height, width, C) each, without copying. Errors as `split_tiles`."""
    return [
        frames_FHWC[:, top : top + height, left : left + width]
        for top in _starts(frames_FHWC.shape[1], height)
        for left in _starts(frames_FHWC.shape[2], width)
    ]


def split_tiles(whole_BCTHW: Tensor, height: int, width: int) -> Tensor:
    """Tiles of height x width, (N, B, C, T, height, width), as few as cover the whole, evenly overlapping.

    Raises:
        ValueError: no even overlap makes the tiles end where the whole does.
    """
    size_h, size_w = whole_BCTHW.shape[-2:]
    return torch.stack(
        [
            whole_BCTHW[..., top : top + height, left : left + width]
            for top in _starts(size_h, height)
            for left in _starts(size_w, width)
        ]
    )


def merge_tiles(tiles_NBCThw: Tensor, height: int | None = None, width: int | None = None) -> Tensor:
    """The whole, (B, C, T, height, width), blended linearly where tiles overlap.

    A tile counts least, but not nothing, at its edge, and more at its last row and column than at its first. With the
    small constant that keeps the sum of weights from zero, this dims the first row and column of the whole by 1e-4 and
    its corner by 1e-2, of a single tile too.

    Args:
        height, width: of the whole; by default of one tile.
    Raises:
        ValueError: the tiles do not make a whole of that size.
    Source: cosmos-transfer1, inference/inference_utils.py (behaviour).
    """
    *outer, tile_h, tile_w = tiles_NBCThw.shape[1:]
    height, width = height or tile_h, width or tile_w
    tops, lefts = _starts(height, tile_h), _starts(width, tile_w)
    if len(tiles_NBCThw) != len(tops) * len(lefts):
        raise ValueError(f"{len(tops)} x {len(lefts)} tiles make a whole of that size, not {len(tiles_NBCThw)}")
    device = tiles_NBCThw.device
    weight_hw = (_ramp(tops, tile_h, device)[:, None] * _ramp(lefts, tile_w, device)).to(tiles_NBCThw)
    total_HW = weight_hw.new_zeros(height, width)
    whole = tiles_NBCThw.new_zeros(*outer, height, width)
    corners = [(top, left) for top in tops for left in lefts]
    for tile, (top, left) in zip(tiles_NBCThw, corners, strict=True):
        place = (..., slice(top, top + tile_h), slice(left, left + tile_w))
        whole[place] += tile * weight_hw
        total_HW[place] += weight_hw
    return whole / (total_HW + 1e-6)


def _starts(whole: int, tile: int) -> list[int]:
    """Where the tiles of one axis begin."""
    count = -(-whole // tile)
    overlap = (count * tile - whole) // (count - 1) if count > 1 else 0
    if count * tile - overlap * (count - 1) != whole:
        raise ValueError(f"{count} tiles of {tile} cannot cover {whole} with equal overlaps")
    return [i * (tile - overlap) for i in range(count)]


def _ramp(starts: list[int], tile: int, device: torch.device) -> Tensor:
    """Weight along one axis of a tile: rises from 0.01 over the overlap, and falls towards the other edge."""
    overlap = tile - (starts[1] - starts[0]) if len(starts) > 1 else 0
    i = torch.arange(tile, device=device)
    return (torch.minimum(i, tile - i) / (overlap + 1e-6)).clamp(0.01, 1)
