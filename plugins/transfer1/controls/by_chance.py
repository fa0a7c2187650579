"""Control videos of clips that are trained on: of a strength that chance decides, once for all frames of a clip."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from cosmos_cli.media.resize import resize_bicubic
from cosmos_plugins.transfer1.controls.blur import BlurPreset, blur_with

# F frames, H and W pixel height and width


def edge(frames_FHWC: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Canny edges between a lower threshold of 20 to 99 and one that is higher by 50 to 149.

    Source: cosmos-transfer1, datasets/augmentors/control_input.py (behaviour).
    """
    lower = _between(20, 100, generator)
    upper = min(255, lower + _between(50, 150, generator))
    return np.stack([cv2.cvtColor(cv2.Canny(frame, lower, upper), cv2.COLOR_GRAY2RGB) for frame in frames_FHWC])


def vis(frames_FHWC: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Blurred within contours (half of the clips), by a Gauss filter (three of ten), or by both, with details left out.

    The first runs on pictures smaller by a factor of 1 to 4; details of 4 to 17 pixels are left out. Its other
    strengths lie between those of `--blur-strength`; those of the Gauss filter are chosen here.

    Source: cosmos-transfer1, datasets/augmentors/control_input.py (shares and factors).
    """
    choice = _between(0, 10, generator)
    preset = BlurPreset(
        diameter_px=_between(15, 51, generator),
        sigma_color=_between(100, 301, generator),
        sigma_space=_between(50, 151, generator),
        shrink=_between(1, 5, generator),
        # at least one pixel must remain
        detail_px=min(_between(4, 18, generator), *frames_FHWC.shape[1:3]),
    )
    gauss_px, sigma = 2 * _between(7, 26, generator) + 1, float(_between(5, 16, generator))
    if 5 <= choice < 8:
        preset = preset._replace(diameter_px=1, shrink=1)
    blurred = np.stack([blur_with(frame, preset) for frame in frames_FHWC])
    if choice < 5:
        return blurred
    return np.stack([cv2.GaussianBlur(frame, (gauss_px, gauss_px), sigma) for frame in blurred])


def upscale(frames_FHWC: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """What a picture two, three (half of the clips) or six times smaller keeps.

    Source: cosmos-transfer1, datasets/augmentors/control_input.py (behaviour).
    """
    factor = (6, 6, 6, 3, 3, 3, 3, 3, 2, 2)[_between(0, 10, generator)]
    height, width = frames_FHWC.shape[1:3]
    small = [_shrunk_by(frame, factor) for frame in frames_FHWC]
    return np.stack([cv2.resize(each, (width, height), interpolation=cv2.INTER_LINEAR) for each in small])


def _shrunk_by(frame_HWC: np.ndarray, factor: int) -> np.ndarray:
    height, width = frame_HWC.shape[:2]
    image_1CHW = torch.from_numpy(frame_HWC).permute(2, 0, 1)[None]
    small = resize_bicubic(image_1CHW, max(1, height // factor), max(1, width // factor))
    return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())


def _between(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number, `low` and less than `high`."""
    return int(torch.randint(low, high, (1,), generator=generator))
