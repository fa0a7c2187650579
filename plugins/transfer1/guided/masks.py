"""Which part of a view stays as it is: masks of pixels, and what they come to in latents."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as nn
from torch import Tensor

from cosmos_plugins.transfer1.guided.episodes.labels import is_one_of
from cosmos_plugins.transfer1.variants import LATENT_PX

# F frames, H and W pixel height and width; T latent frames, h and w latent height and width

FRAMES_IN_LATENT = 8
"""Frames in a latent frame; the first frame has one of its own."""

Reduction = Literal["maximum", "minimum", "original"]
"""How the pixels of a latent become one number.

A latent frame stands for 8 frames of 8x8 pixels. Where part of them is masked:
maximum: all of it is. What is thin or moves, such as a probe, stays guided wherever it is for a moment, and what is
    around it within 8 pixels with it. For what has to stay as it is. The mean would guide such a latent in part only:
    it would be a mixture of two noises with less of either than the network expects.
minimum: nothing of it is. For what is known in parts only, such as a warped view: its holes never guide.
original: the mean of 2 of the 8 frames and 2x2 of the 8x8 pixels, which misses what is thin or moves.
"""


def pixel_masks(
    labels_FHW: np.ndarray, foreground: Collection[int], size: tuple[int, int], *, original: bool = False
) -> np.ndarray:
    """Where these labels are, at another size with soft edges.

    Args:
        labels_FHW: uint8; a mask of zeros and ones has the labels 0 and 1.
        size: height and width.
        original: shrink as the original does, which skips pixels; else all of them count.
    Returns:
        (F, height, width) float32 from 0 to 1, in steps of 1/255.
    Source: i4h-workflows, guided_generation_pipeline.py, read_and_resize_numpy_mask (behaviour).
    """
    height, width = size
    masks = np.empty((len(labels_FHW), height, width), np.float32)
    shrinks = height < labels_FHW.shape[1] or width < labels_FHW.shape[2]
    interpolation = cv2.INTER_AREA if shrinks and not original else cv2.INTER_LINEAR
    for mask_HW, labels_HW in zip(masks, labels_FHW, strict=True):
        levels = is_one_of(labels_HW, foreground).astype(np.float32) * 255
        # cut down to whole numbers, as the original does
        np.floor(cv2.resize(levels, (width, height), interpolation=interpolation), out=mask_HW)
    return np.divide(masks, np.float32(255), out=masks)


def latent_mask(masks_FHW: np.ndarray, *, reduction: Reduction = "maximum") -> Tensor:
    """A chunk's mask for each of its latents.

    Args:
        masks_FHW: from 0 to 1, 8 k + 1 frames, of sizes that 8 divides.
    Returns:
        (1, 1, T, h, w) float32, the same for all channels.
    Raises:
        ValueError: the numbers of frames or pixels are others.
    Source: i4h-workflows, guided_generation_pipeline.py, construct_latent_weight_map (behaviour), for "original".
    """
    num_frames, height, width = masks_FHW.shape
    if num_frames % FRAMES_IN_LATENT != 1 or height % LATENT_PX or width % LATENT_PX:
        raise ValueError(f"{num_frames} frames of {height}x{width} are no whole latents")
    masks_11FHW = torch.from_numpy(np.ascontiguousarray(masks_FHW))[None, None]
    first = _reduced(masks_11FHW[:, :, :1], 1, reduction)
    if num_frames == 1:
        return first
    return torch.cat([first, _reduced(masks_11FHW[:, :, 1:], FRAMES_IN_LATENT, reduction)], dim=2)


def _reduced(masks_11FHW: Tensor, frames: int, reduction: Reduction) -> Tensor:
    num_frames, height, width = masks_11FHW.shape[2:]
    cell = (frames, LATENT_PX, LATENT_PX)
    if reduction == "maximum":
        return nn.max_pool3d(masks_11FHW, cell)
    if reduction == "minimum":
        return -nn.max_pool3d(-masks_11FHW, cell)
    size = (num_frames // frames, height // LATENT_PX, width // LATENT_PX)
    # groups of 8 frames do not reach into each other: one call for all gives what one for each does
    return nn.interpolate(masks_11FHW, size=size, mode="trilinear", align_corners=False)
