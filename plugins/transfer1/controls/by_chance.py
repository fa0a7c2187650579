"""Control videos of clips that are trained on: of a strength that chance decides, once for all frames of a clip."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from cosmos_plugins.transfer1.controls.blur import BLUR_PRESETS, blur_with

# F frames, H and W pixel height and width

_PRESETS = tuple(preset for name, preset in BLUR_PRESETS.items() if name != "none")


def edge(frames_FHWC: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Canny edges between a lower threshold of 20 to 99 and one that is higher by 50 to 149.

    Source: cosmos-transfer1, datasets/augmentors/control_input.py (behaviour).
    """
    lower = _between(20, 100, generator)
    upper = min(255, lower + _between(50, 150, generator))
    return np.stack([cv2.cvtColor(cv2.Canny(frame, lower, upper), cv2.COLOR_GRAY2RGB) for frame in frames_FHWC])


def vis(frames_FHWC: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """One of the strengths of `--blur-strength`, and details from 4 pixels to 17 left out.

    The originals also blur by a Gauss filter at times, which no inference does.
    """
    preset = _PRESETS[_between(0, len(_PRESETS), generator)]
    # at least one pixel must remain
    detail_px = min(_between(4, 18, generator), *frames_FHWC.shape[1:3])
    preset = preset._replace(detail_px=detail_px)
    return np.stack([blur_with(frame, preset) for frame in frames_FHWC])


def _between(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number, `low` and less than `high`."""
    return int(torch.randint(low, high, (1,), generator=generator))
