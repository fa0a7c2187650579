"""A critic that needs no weights: it measures how a clip behaves over time and understands nothing of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from cosmos_cli.critics import Component, Trial
from cosmos_cli.errors import InputError
from cosmos_plugins.predict2.critic.agreement import Common, working_size

# F frames, H and W pixel height and width, C = 3 colours

ANOMALY_BELOW = 50
"""A measure under this score is called an anomaly."""

OVERVIEW = (
    "Measured, not watched: whether each frame follows from the one before, whether the picture stays as sharp as it "
    "began, and whether its brightness is steady. This knows nothing of what the video shows, of the prompt or of "
    "physics, and a picture that never moves passes in full."
)

_UNEXPLAINED_SCALE, _JITTER_SCALE = 0.25, 4.0
_FAINT_CONTRAST = 1.0
_NUM_REFERENCE_FRAMES = 5


class MeasuredCritic:
    """Temporal consistency, sharpness and flicker, each 0 to 100, and their geometric mean.

    The geometric mean lets no strength make up for a failure: one measure at 0 makes the whole 0. Of several videos of
    one request, `among` them, agreement is a fourth measure.
    """

    name = "measured: temporal consistency, sharpness, flicker"

    def __init__(self, common: Common | None = None) -> None:
        self._common = common
        if common is not None:
            self.name = f"{MeasuredCritic.name}, agreement {common.digest}"

    def among(self, clips_FHWC: Iterable[np.ndarray]) -> MeasuredCritic:
        """See `cosmos_cli.critics.ComparingCritic`."""
        return MeasuredCritic(Common.of(clips_FHWC))

    def judge(self, frames_FHWC: np.ndarray, fps: float, *, num_trials: int, seed: int) -> list[Trial]:
        """One trial, however many are asked for: measuring again gives the same numbers.

        Raises:
            InputError: there is only one frame.
        """
        if len(frames_FHWC) < 2:
            raise InputError("has a single frame, which shows nothing over time.", fix="Judge it by another critic.")
        grey_FHW = _grey(frames_FHWC)
        measures = [_temporal_consistency(grey_FHW), _sharpness(grey_FHW), _flicker(grey_FHW)]
        anomalies: list[bool | None] = [measure.score < ANOMALY_BELOW for measure in measures]
        agreement = None if self._common is None else self._common.agreement(frames_FHWC)
        if agreement is not None:
            measures.append(_Measure("Agreement", *agreement))
            anomalies.append(None)  # whoever differs from the others need not be wrong
        total = math.prod(measure.score for measure in measures) ** (1 / len(measures))
        components = tuple(
            Component(f"{measure.name}: {int(measure.score)} / 100", measure.account, anomaly)
            for measure, anomaly in zip(measures, anomalies, strict=True)
        )
        parts = ", ".join(f"{measure.name.lower()} {measure.score:.1f}" for measure in measures)
        return [
            Trial(
                text=f"{total:.1f}, the geometric mean of {parts}.",
                verdict=not any(anomalies),
                score=min(total, 100.0),
                overview=OVERVIEW,
                components=components,
            )
        ]


def measured(device: str, offload: bool) -> MeasuredCritic:
    """The factory. Measuring takes place on the CPU and holds nothing."""
    return MeasuredCritic()


@dataclass(frozen=True)
class _Measure:
    """score: 0 to 100; account: how it came about, for people."""

    name: str
    score: float
    account: str


def _grey(frames_FHWC: np.ndarray) -> np.ndarray:
    """Brightness of every frame at the working size, (F, H, W) float32 in 0 to 255."""
    size = working_size(*frames_FHWC.shape[1:3])
    grey = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames_FHWC)
    return np.stack([cv2.resize(frame.astype(np.float32), size, interpolation=cv2.INTER_AREA) for frame in grey])


def _temporal_consistency(grey_FHW: np.ndarray) -> _Measure:
    """100 * exp(-u / 0.25), u the mean part of the contrast that motion does not explain.

    Each frame is compared with the one before, moved along the optical flow between them, over the pixels that
    come from inside the picture; u is the mean absolute difference over the mean absolute deviation of the frame.
    """
    steady_FHW = grey_FHW - grey_FHW.mean(axis=(1, 2), keepdims=True)  # brightness as a whole is flicker's business
    unexplained = float(np.mean([_unexplained(*pair) for pair in itertools.pairwise(steady_FHW)]))
    return _Measure(
        "Temporal consistency",
        100 * math.exp(-unexplained / _UNEXPLAINED_SCALE),
        f"From frame to frame, {unexplained:.1%} of the contrast is change that motion does not explain.",
    )


def _unexplained(before_HW: np.ndarray, after_HW: np.ndarray) -> float:
    flow_HW2 = _flow(after_HW, before_HW)
    height, width = after_HW.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    from_x, from_y = x + flow_HW2[..., 0], y + flow_HW2[..., 1]
    moved = cv2.remap(before_HW, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = (from_x >= 0) & (from_x <= width - 1) & (from_y >= 0) & (from_y <= height - 1)
    difference = np.abs(moved - after_HW)
    # a cut can send the flow out of the picture everywhere; then nothing is explained by it
    change = difference[inside].mean() if inside.mean() > 0.5 else np.abs(after_HW - before_HW).mean()
    return float(change / (np.abs(after_HW).mean() + _FAINT_CONTRAST))


def _flow(source_HW: np.ndarray, target_HW: np.ndarray) -> np.ndarray:
    """Motion in pixels, (H, W, 2): where each pixel of `source` lies in `target`. Farneback's method."""
    # it wants 8-bit frames: centred brightness is moved back into their range
    images = (np.clip(image + 128, 0, 255).astype(np.uint8) for image in (source_HW, target_HW))
    return cv2.calcOpticalFlowFarneback(
        *images, None, pyr_scale=0.5, levels=4, winsize=15, iterations=3, poly_n=5, poly_sigma=1.1, flags=0
    )  # type: ignore[call-overload]


def _sharpness(grey_FHW: np.ndarray) -> _Measure:
    """100 * mean(min(1, s / s0)), s the deviation of a frame's Laplacian and s0 its mean over the first frames."""
    deviations = np.array([cv2.Laplacian(frame, cv2.CV_32F).std() for frame in grey_FHW])
    reference = deviations[:_NUM_REFERENCE_FRAMES].mean()
    kept = np.minimum(1, deviations / reference).mean() if reference > 0 else 1.0
    return _Measure(
        "Sharpness",
        100 * float(kept),
        f"On average, {kept:.1%} of the fine detail of the first frames is kept; more than that does not count.",
    )


def _flicker(grey_FHW: np.ndarray) -> _Measure:
    """100 * exp(-j / 4), j the mean distance of a frame's brightness from the mean of its neighbours, in grey levels.

    A steady brightening or dimming has no such distance.
    """
    brightness = grey_FHW.mean(axis=(1, 2))
    distances = np.abs(brightness[1:-1] - (brightness[:-2] + brightness[2:]) / 2)
    jitter = float(distances.mean()) if len(distances) else 0.0
    return _Measure(
        "Flicker",
        100 * math.exp(-jitter / _JITTER_SCALE),
        f"Brightness departs from its course by {jitter:.2f} of 255 levels per frame; 100 is no flicker.",
    )
