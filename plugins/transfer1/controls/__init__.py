"""Control videos computed from the input video: `vis` blurs it, `edge` draws its outlines.

Both take and give (F, H, W, 3) uint8 RGB frames at the size of generation, and work on all cores.
"""

from __future__ import annotations

import numpy as np

from cosmos_plugins.transfer1.controls.blur import blur
from cosmos_plugins.transfer1.controls.canny import outline
from cosmos_plugins.transfer1.controls.parallel import map_frames
from cosmos_plugins.transfer1.requests import TransferRequest


def vis(frames_FHWC: np.ndarray, request: TransferRequest) -> np.ndarray:
    """The frames blurred, so that colours and rough shapes remain."""
    return map_frames(lambda frame: blur(frame, request.blur_strength), frames_FHWC)


def edge(frames_FHWC: np.ndarray, request: TransferRequest) -> np.ndarray:
    """White outlines on black."""
    return map_frames(lambda frame: outline(frame, request.canny_threshold), frames_FHWC)
