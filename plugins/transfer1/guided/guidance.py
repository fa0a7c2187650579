"""What holds the robot and the phantom, and a background that was warped, to their reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from cosmos_cli.diffusion.injection import Layer
from cosmos_plugins.transfer1.guided.masks import Reduction, latent_mask

# F frames, H and W pixel height and width

BACKGROUND_FACTOR = 2.5
"""A warped background is free from this many times the noise on, at which the foreground is."""


class Held(NamedTuple):
    """A part of a view that is held to the reference.

    masks: places of frames to where it is, (F, H, W) float32 from 0 to 1 at the size of generation.
    reduction: how its pixels become latents.
    """

    masks: Callable[[np.ndarray], np.ndarray]
    reduction: Reduction

    def latents(self, places: np.ndarray) -> Tensor:
        """(1, 1, T, h, w) float32, of the frames of one chunk."""
        return latent_mask(self.masks(places), reduction=self.reduction)


def layers_of(masks_B1THW: Sequence[Tensor], sigma_threshold: float) -> list[Layer]:
    """The held parts of a view: that of the foreground, or those of the background and the foreground, in this order.

    The foreground comes last, so that it wins on soft borders.

    Source: i4h-workflows, cosmos_transfer1/model/model_v2w.py (behaviour).
    """
    thresholds = [BACKGROUND_FACTOR * sigma_threshold] * (len(masks_B1THW) - 1) + [sigma_threshold]
    return [Layer(mask, threshold) for mask, threshold in zip(masks_B1THW, thresholds, strict=False)]
