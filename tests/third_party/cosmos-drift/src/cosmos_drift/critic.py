"""A critic of finished videos: how steady their light is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosmos_cli.critics import Critic, Trial

if TYPE_CHECKING:
    import numpy as np


class SteadyLight:
    """100 less the range of the brightness over the frames; it measures, so there is one trial."""

    name = "steady light, version 1"

    def judge(self, frames_FHWC: np.ndarray, fps: float, *, num_trials: int, seed: int) -> list[Trial]:
        brightness = frames_FHWC.mean(axis=(1, 2, 3))
        swing = float(brightness.max() - brightness.min())
        return [Trial(f"Brightness varies by {swing:.1f} of 255 levels.", verdict=None, score=max(0.0, 100 - swing))]


def steady_light(device: str, offload: bool) -> Critic:
    """The factory. There is nothing to put on a device."""
    return SteadyLight()
