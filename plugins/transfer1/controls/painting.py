"""The `seg` control: every object in a colour of its own."""

from __future__ import annotations

import colorsys
import random
from collections.abc import Sequence

import numpy as np

# F frames, H and W pixel height and width, C = 3 colours

Colour = tuple[int, int, int]

_MAX_MASKS = 100


def paint(masks: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """Masks in random colours on black; of more than 100, the first 100.

    Args:
        masks: of at least one object, each (F, H, W) bool.
        seed: the same seed gives the same colours.
    Returns:
        (F, H, W, 3) uint8.
    """
    return paint_with(masks, random_colours(min(len(masks), _MAX_MASKS), seed))


def paint_with(masks: Sequence[np.ndarray], colours: Sequence[Colour]) -> np.ndarray:
    """As many masks as there are colours; the largest gets the first, and smaller ones cover larger ones.

    Args:
        masks: of at least one object, each (F, H, W) bool. Those of equal size keep their order.
    Returns:
        (F, H, W, 3) uint8, black where no object is.
    Source: cosmos-transfer1, datasets/augmentors/control_input.py, auxiliary/sam2/sam2_utils.py (behaviour).
    """
    largest_first = sorted(masks[: len(colours)], key=np.count_nonzero, reverse=True)
    picture_FHWC = np.zeros((*masks[0].shape, 3), np.uint8)
    for mask_FHW, colour in zip(largest_first, colours, strict=False):
        picture_FHWC[mask_FHW] = colour
    return picture_FHWC


def random_colours(count: int, seed: int) -> list[Colour]:
    """RGB colours that are neither grey nor dark."""
    numbers = random.Random(seed)
    colours = []
    for _ in range(count):
        hue, saturation, value = numbers.uniform(0, 1), numbers.uniform(0.1, 1), numbers.uniform(0.2, 1)
        red, green, blue = (int(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
        colours.append((red, green, blue))
    return colours
