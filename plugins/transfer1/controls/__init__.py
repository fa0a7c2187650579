"""Control videos computed from the input video.

Each function takes (F, H, W, 3) uint8 RGB frames and what is known of the request, and gives frames of the same shape:
`vis` and `edge` at the size of generation, the others, which need models, at the input's own.
"""

from __future__ import annotations

import numpy as np

from cosmos_cli import output
from cosmos_plugins.transfer1.controls.annotators import (
    depth_estimator,
    fingerprints,
    object_finder,
    skeleton_estimator,
)
from cosmos_plugins.transfer1.controls.blur import blur
from cosmos_plugins.transfer1.controls.canny import outline
from cosmos_plugins.transfer1.controls.job import ControlJob
from cosmos_plugins.transfer1.controls.objects import union
from cosmos_plugins.transfer1.controls.painting import paint
from cosmos_plugins.transfer1.controls.parallel import map_frames

# F frames, H and W pixel height and width


def vis(frames_FHWC: np.ndarray, job: ControlJob) -> np.ndarray:
    """The frames blurred, so that colours and rough shapes remain."""
    strength = job.request.blur_strength
    return job.cached(
        {"control": "vis", "strength": strength},
        lambda: map_frames(lambda frame: blur(frame, strength), frames_FHWC, job.advance),
    )


def edge(frames_FHWC: np.ndarray, job: ControlJob) -> np.ndarray:
    """White outlines on black. Finding them takes less time than reading them from a cache would."""
    return map_frames(lambda frame: outline(frame, job.request.canny_threshold), frames_FHWC, job.advance)


def depth(frames_FHWC: np.ndarray, job: ControlJob) -> np.ndarray:
    """Distances, near is bright; the whole video is normalised together."""

    def compute() -> np.ndarray:
        with depth_estimator(job.models["depth"], job.device) as estimator:
            return estimator.estimate(frames_FHWC, job.advance)

    return job.cached({"control": "depth", "models": fingerprints(job, "depth")}, compute)


def seg(frames_FHWC: np.ndarray, job: ControlJob) -> np.ndarray:
    """The objects of `input_control_prompt`, or of the prompt, each in a colour of its own."""
    prompt = job.control.input_control_prompt or job.request.prompt
    seed = job.request.seed

    def compute() -> np.ndarray:
        with object_finder(job.models["detector"], job.models["tracker"], job.device) as finder:
            found = finder.find(frames_FHWC, prompt, on_frame=job.advance)
        return paint([each.masks_FHW for each in found], seed) if found else np.zeros_like(frames_FHWC)

    how = {"control": "seg", "prompt": prompt, "seed": seed, "models": fingerprints(job, "detector", "tracker")}
    painted = job.cached(how, compute)
    if not painted.any():
        output.notice(f"seg: nothing in the first frame matches {_shortened(prompt)!r}; the control video is black")
    return painted


def keypoint(frames_FHWC: np.ndarray, job: ControlJob) -> np.ndarray:
    """Skeletons of people on black."""

    def compute() -> np.ndarray:
        return skeleton_estimator(job.models["people"], job.device).estimate(frames_FHWC, job.advance)

    return job.cached({"control": "keypoint", "models": fingerprints(job, "people")}, compute)


def upscale(frames_FHWC: np.ndarray, _job: ControlJob) -> np.ndarray:
    """The video itself."""
    return frames_FHWC


def objects_mask(frames_FHWC: np.ndarray, prompt: str, job: ControlJob, *, best_only: bool = False) -> np.ndarray:
    """Where the objects of a prompt are, (F, H, W) bool; nowhere, with a notice, if there are none.

    Args:
        best_only: only the object that the detector is surest of.
    """

    def compute() -> np.ndarray:
        with object_finder(job.models["detector"], job.models["tracker"], job.device) as finder:
            found = finder.find(frames_FHWC, prompt, best_only=best_only, on_frame=job.advance)
        return union(found, *frames_FHWC.shape[:3]).astype(np.uint8) * 255

    models = fingerprints(job, "detector", "tracker")
    mask = job.cached({"mask": prompt, "best_only": best_only, "models": models}, compute) > 0
    if not mask.any():
        output.notice(f"nothing in the first frame matches {_shortened(prompt)!r}")
    return mask


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
