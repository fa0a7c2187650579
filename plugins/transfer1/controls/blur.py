"""The `vis` control: a picture without its details."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch

from cosmos_cli.media.resize import resize_bicubic


class BlurPreset(NamedTuple):
    """diameter_px, sigma_color, sigma_space: of the bilateral filter.

    shrink: the filter runs on a picture smaller by this factor, so it reaches further and takes less time.
    detail_px: what is left resolves details of this size; the picture goes through one smaller by this factor.
    """

    diameter_px: int
    sigma_color: float
    sigma_space: float
    shrink: int
    detail_px: int


BLUR_PRESETS = {
    "none": BlurPreset(diameter_px=1, sigma_color=1, sigma_space=1, shrink=1, detail_px=1),
    "very_low": BlurPreset(diameter_px=15, sigma_color=100, sigma_space=50, shrink=1, detail_px=4),
    "low": BlurPreset(diameter_px=15, sigma_color=100, sigma_space=50, shrink=4, detail_px=4),
    "medium": BlurPreset(diameter_px=30, sigma_color=150, sigma_space=100, shrink=2, detail_px=10),
    "high": BlurPreset(diameter_px=50, sigma_color=300, sigma_space=150, shrink=1, detail_px=16),
    "very_high": BlurPreset(diameter_px=50, sigma_color=300, sigma_space=150, shrink=4, detail_px=16),
}
"""By the names of `--blur-strength`, and "none"."""


def blur(image_HWC: np.ndarray, strength: str) -> np.ndarray:
    """An image blurred within its contours, then stripped of small details.

    Args:
        image_HWC: (H, W, 3) uint8 RGB, at least 16 pixels high and wide.
        strength: a name in `BLUR_PRESETS`.
    Returns:
        (H, W, 3) uint8.
    Source: cosmos-transfer1, datasets/augmentors/control_input.py, config/transfer/augmentors.py (behaviour).
    """
    return blur_with(image_HWC, BLUR_PRESETS[strength])


def blur_with(image_HWC: np.ndarray, preset: BlurPreset) -> np.ndarray:
    """As `blur`, with a strength that need not have a name."""
    height, width = image_HWC.shape[:2]
    filtered = _shrunk(image_HWC, preset.shrink)
    filtered = cv2.bilateralFilter(filtered, preset.diameter_px, preset.sigma_color, preset.sigma_space)
    if preset.shrink > 1:
        filtered = cv2.resize(filtered, (width, height), interpolation=cv2.INTER_LINEAR)
    image_1CHW = torch.from_numpy(filtered).permute(2, 0, 1)[None]
    rough = resize_bicubic(image_1CHW, int(height / preset.detail_px), int(width / preset.detail_px))
    return resize_bicubic(rough, height, width)[0].permute(1, 2, 0).numpy()


def _shrunk(image_HWC: np.ndarray, factor: int) -> np.ndarray:
    if factor == 1:
        return image_HWC
    height, width = image_HWC.shape[:2]
    return cv2.resize(image_HWC, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
