"""What several videos of one request have in common, and how far each of them agrees with it.

Whatever the noise decides in a video, its seeds decide differently; what the request decides is in all of them. Of
several answers that may each be wrong, the one in their middle is off by least on average.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

# F frames, H and W pixel height and width, C = 3 colours

WORKING_SIZE_PX = 192
"""Longer side that larger frames are shrunk to before they are measured, so that scores do not depend on resolution."""

_SCALE = 0.25
_FAINT_CONTRAST = 1.0


@dataclass(frozen=True)
class Common:
    """The mean of videos, for each size and length that at least two of them have.

    means: float32, by shape (F, H, W, C) of the video. digest: a few letters that stand for all of it.
    """

    means: dict[tuple[int, ...], np.ndarray]
    digest: str

    @classmethod
    def of(cls, clips_FHWC: Iterable[np.ndarray]) -> Common:
        """The mean of these, one at a time in memory."""
        totals: dict[tuple[int, ...], np.ndarray] = {}
        counts: dict[tuple[int, ...], int] = {}
        for frames_FHWC in clips_FHWC:
            shape = frames_FHWC.shape
            counts[shape] = counts.get(shape, 0) + 1
            # whole numbers: the sum is the same in whatever order the videos come
            totals[shape] = _shrunk(frames_FHWC).astype(np.uint32) + totals.get(shape, np.uint32(0))
        means = {shape: (totals[shape] / count).astype(np.float32) for shape, count in counts.items() if count > 1}
        seen = hashlib.sha256(repr(sorted(counts.items())).encode())
        for shape in sorted(means):
            seen.update(means[shape].tobytes())
        return cls(means, seen.hexdigest()[:8])

    def agreement(self, frames_FHWC: np.ndarray) -> tuple[float, str] | None:
        """100 * exp(-d / 0.25) and what that says; None for a video that is like no other in size and length.

        d is the root mean square distance of a video from the mean of all, in parts of the mean's own deviation from
        grey. Squares of distances from all the others add up to that of this one and what is the same for each, so
        the nearest to the mean is the nearest to the others.
        """
        mean_FHWC = self.means.get(frames_FHWC.shape)
        if mean_FHWC is None:
            return None
        contrast = float(mean_FHWC.std()) + _FAINT_CONTRAST
        distance = float(np.sqrt(np.mean((_shrunk(frames_FHWC) - mean_FHWC) ** 2))) / contrast
        return (
            100 * math.exp(-distance / _SCALE),
            f"It is {distance:.1%} of the contrast away from the mean of all videos of this request.",
        )


def working_size(height: int, width: int) -> tuple[int, int]:
    """Width and height in pixels, as OpenCV orders them, at which frames are measured."""
    scale = min(1.0, WORKING_SIZE_PX / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _shrunk(frames_FHWC: np.ndarray) -> np.ndarray:
    """At the working size, uint8."""
    size = working_size(*frames_FHWC.shape[1:3])
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames_FHWC])
