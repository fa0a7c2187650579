"""Windows of clips: as many frames as a recipe says, in its size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cosmos_cli.errors import InputError
from cosmos_cli.media.resize import stretch, stretch_smoothly
from cosmos_cli.media.video import Clip, read_frames
from cosmos_cli.training.data.folders import length_of, span
from cosmos_cli.training.recipe import Data


def read_window(path: Path, data: Data, start: int, *, keeps_labels: bool = False) -> Clip:
    """The frames of a window in the size of the recipe, whatever that does to their shape.

    Args:
        keeps_labels: colours are labels, which must not be mixed.
    """

    def each(image_HWC: np.ndarray) -> np.ndarray:
        if keeps_labels:
            return stretch(image_HWC, data.height, data.width, interpolation=cv2.INTER_NEAREST)
        return stretch_smoothly(image_HWC, data.height, data.width)

    return read_frames(path, range(start, start + span(data), data.sequence_interval), each)


def rate_of(fps: float, data: Data) -> float:
    """Frames per second of a window."""
    return (fps or data.fps) / data.sequence_interval


def check_length(path: Path, data: Data) -> None:
    """Raises InputError: a clip cannot be read, or is shorter than a window."""
    if length_of(path).num_frames < span(data):
        raise too_short(path, data)


def too_short(path: Path, data: Data) -> InputError:
    """The error that a clip is shorter than a window."""
    return InputError(
        f"has {length_of(path).num_frames} frames; a window takes {span(data)}.",
        where=str(path),
        fix="Remove the clip, or set data.num_frames lower.",
    )
