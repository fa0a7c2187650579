"""Bringing pictures to the size a model works in, as the original pipelines do."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# B batch, F frames, H and W pixel height and width, C = 3 colours

ASPECT_RATIOS = {"16:9": 16 / 9, "4:3": 4 / 3, "1:1": 1.0, "3:4": 3 / 4, "9:16": 9 / 16}
"""Width over height, by name."""


def nearest_aspect_ratio(height: int, width: int) -> str:
    """The name of the ratio closest to that of a picture; of two equally close ones, the wider.

    Source: cosmos-transfer1, inference/inference_utils.py (behaviour).
    """
    return min(ASPECT_RATIOS, key=lambda name: (ASPECT_RATIOS[name] - width / height) ** 2)


def stretch(image_HWC: np.ndarray, height: int, width: int, *, interpolation: int) -> np.ndarray:
    """An image scaled to exactly height x width, whatever that does to its shape.

    Args:
        image_HWC: uint8, any number of colours.
        interpolation: of OpenCV; INTER_AREA averages when it shrinks, INTER_NEAREST keeps labels intact.
    Returns:
        (height, width, C) uint8; the image itself if it has that size.
    Source: cosmos-transfer1, inference/inference_utils.py (behaviour).
    """
    if image_HWC.shape[:2] == (height, width):
        return image_HWC
    return cv2.resize(image_HWC, (width, height), interpolation=interpolation)


def resize_bicubic(images_BCHW: Tensor, height: int, width: int) -> Tensor:
    """Bicubic resampling with antialiasing, as torchvision does it.

    Computed in float32 and returned in the input's dtype; uint8 is clamped and rounded.

    Source: torchvision, transforms.functional.resize (behaviour).
    """
    return _resampled(images_BCHW, height, width, "bicubic")


def stretch_smoothly(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image scaled to exactly height x width: bilinear with antialiasing, rounded, as torchvision does it.

    Args:
        image_HWC: uint8, any number of colours.
    Returns:
        (height, width, C) uint8; the image itself if it has that size.
    Source: torchvision, transforms.functional.resize (behaviour).
    """
    if image_HWC.shape[:2] == (height, width):
        return image_HWC
    image_1CHW = torch.from_numpy(np.ascontiguousarray(image_HWC)).permute(2, 0, 1)[None]
    return _resampled(image_1CHW, height, width, "bilinear")[0].permute(1, 2, 0).numpy()


def _resampled(images_BCHW: Tensor, height: int, width: int, mode: str) -> Tensor:
    resized = F.interpolate(images_BCHW.float(), size=(height, width), mode=mode, antialias=True)
    if images_BCHW.dtype == torch.uint8:
        resized = resized.clamp_(0, 255).round_()
    return resized.to(images_BCHW.dtype)


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
    image_1CHW = torch.from_numpy(np.ascontiguousarray(image_HWC)).permute(2, 0, 1)[None].float().div_(255)
    if tuple(image_1CHW.shape[2:]) != size:
        image_1CHW = F.interpolate(image_1CHW, size=size, mode="bilinear", antialias=True, align_corners=False)
    return (image_1CHW[0] * 255).to(torch.uint8).permute(1, 2, 0).numpy()
