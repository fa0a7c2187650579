"""Bringing pictures to the size a model works in, as the original pipelines do."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

# F frames, H and W pixel height and width, C = 3 colours


def cover_and_crop(frames_FHWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale frames until they cover height x width, keeping their shape, and cut out the centre.

    Bilinear with antialiasing on values in [0, 1]; the result is truncated, not rounded, to uint8.

    Args:
        frames_FHWC: uint8 RGB.
    Returns:
        (F, height, width, 3) uint8.
    Source: cosmos-predict2, pipelines/video2world.py (behaviour).
    """
    source_height, source_width = frames_FHWC.shape[1:3]
    scale = max(width / source_width, height / source_height)
    size = (math.ceil(scale * source_height), math.ceil(scale * source_width))
    top, left = _centre(size[0], height), _centre(size[1], width)
    # one frame at a time: a batch of large photographs in float32 would take gigabytes
    return np.stack([_resize(frame, size)[top : top + height, left : left + width] for frame in frames_FHWC])


def _centre(available: int, wanted: int) -> int:
    return round((available - wanted) / 2)


def _resize(image_HWC: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image_1CHW = torch.from_numpy(np.ascontiguousarray(image_HWC)).permute(2, 0, 1)[None].float() / 255
    if tuple(image_1CHW.shape[2:]) != size:
        image_1CHW = F.interpolate(image_1CHW, size=size, mode="bilinear", antialias=True, align_corners=False)
    return (image_1CHW[0] * 255).to(torch.uint8).permute(1, 2, 0).numpy()
