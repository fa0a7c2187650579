"""What holds the robot and the phantom, and a background that was warped, to their reference."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from cosmos_cli.diffusion.injection import Layer

BACKGROUND_FACTOR = 2.5
"""A warped background is free from this many times the noise on, at which the foreground is."""


def layers_of(masks_B1THW: Sequence[Tensor], sigma_threshold: float) -> list[Layer]:
    """The held parts of a view: that of the foreground, or those of the background and the foreground, in this order.

    Source: i4h-workflows, cosmos_transfer1/model/model_v2w.py (behaviour).
    """
    *backgrounds, foreground = masks_B1THW or [None]
    layers = [Layer(mask, BACKGROUND_FACTOR * sigma_threshold) for mask in backgrounds if mask is not None]
    return layers if foreground is None else [*layers, Layer(foreground, sigma_threshold)]
