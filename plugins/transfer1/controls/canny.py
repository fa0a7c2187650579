"""The `edge` control: outlines found by Canny's method."""

from __future__ import annotations

import cv2
import numpy as np

CANNY_THRESHOLDS = {
    "none": (20, 50),
    "very_low": (20, 50),
    "low": (50, 100),
    "medium": (100, 200),
    "high": (200, 300),
    "very_high": (300, 400),
}
"""Lower and upper gradient threshold by the names of `--canny-threshold`, and "none"."""


def outline(image_HWC: np.ndarray, threshold: str) -> np.ndarray:
    """White edges on black.

    Args:
        image_HWC: (H, W, 3) uint8 RGB. The gradient at a pixel is that of the colour which changes most.
        threshold: a name in `CANNY_THRESHOLDS`; a higher one finds fewer edges.
    Returns:
        (H, W, 3) uint8, 0 or 255.
    Source: cosmos-transfer1, datasets/augmentors/control_input.py (behaviour).
    """
    return cv2.cvtColor(cv2.Canny(image_HWC, *CANNY_THRESHOLDS[threshold]), cv2.COLOR_GRAY2RGB)
