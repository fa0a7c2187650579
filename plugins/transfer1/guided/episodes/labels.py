"""The colours of an episode's segmentation, and the labels that they stand for."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from cosmos_plugins.transfer1.guided.views import LABELS

# F frames, H and W pixel height and width

COLOURS: dict[int, tuple[int, int, int]] = {
    LABELS["unlabelled"]: (0, 0, 0),
    LABELS["ground"]: (255, 0, 0),
    LABELS["table"]: (0, 255, 0),
    LABELS["phantom"]: (0, 0, 255),
    LABELS["robot"]: (255, 255, 0),
}
"""Label to its colour, RGB. Any other colour is unlabelled."""

_TABLE = np.zeros((256, 3), np.uint8)
_TABLE[list(COLOURS)] = list(COLOURS.values())


def labels_of(colours_FHW3: np.ndarray) -> np.ndarray:
    """The label of each pixel; colours are taken exactly.

    Args:
        colours_FHW3: uint8 RGB, with any axes before the last.
    Returns:
        (F, H, W) uint8.
    """
    codes_FHW = codes_of(colours_FHW3)
    labels_FHW = np.zeros(codes_FHW.shape, np.uint8)
    for label, (red, green, blue) in COLOURS.items():
        labels_FHW[codes_FHW == (red << 16 | green << 8 | blue)] = label
    return labels_FHW


def colours_of(labels_FHW: np.ndarray) -> np.ndarray:
    """The colour of each label, black for numbers that are none, (F, H, W, 3) uint8."""
    return _TABLE[labels_FHW]


def codes_of(colours_FHW3: np.ndarray) -> np.ndarray:
    """Each colour as one number, 0xRRGGBB, (F, H, W) uint32."""
    codes_FHW = colours_FHW3[..., 0].astype(np.uint32) << 16
    codes_FHW |= colours_FHW3[..., 1].astype(np.uint32) << 8
    codes_FHW |= colours_FHW3[..., 2]
    return codes_FHW


def is_one_of(labels_FHW: np.ndarray, foreground: Collection[int]) -> np.ndarray:
    """Whether each pixel has one of these labels, (F, H, W) bool."""
    chosen = np.zeros(256, bool)
    chosen[[label for label in foreground if 0 <= label < 256]] = True
    return chosen[labels_FHW]
