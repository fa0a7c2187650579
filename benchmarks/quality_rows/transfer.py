"""Turning controls into clips: does the control control, only where it shall, and do words decide what it leaves."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.quality_rows.asked import Asked
from benchmarks.quality_rows.clips import Clip, held_out, repainted
from benchmarks.quality_rows.metrics import colour_within, colours_of, correlation, edge_f1, mean
from benchmarks.quality_rows.rows import Goal, Row, Scores, rows_of
from benchmarks.quality_rows.weights import untrained
from cosmos_cli.media.source import GivenFrames
from cosmos_cli.worlds.pictures import depth_picture
from cosmos_cli.worlds.render import render
from cosmos_plugins.transfer1.controls.canny import outline
from cosmos_plugins.transfer1.pipeline import TransferPipeline
from cosmos_plugins.transfer1.requests import PURE_NOISE_SIGMA, TransferRequest, TransferSettings
from cosmos_plugins.transfer1.variants import VARIANTS

# F frames, H and W pixel height and width, C = 3 colours

PART, NUM_CLIPS = "transfer", 50
SETTINGS = TransferSettings(model_size="tiny")
_TINY = VARIANTS[SETTINGS.model_size]
SIZE = _TINY.sizes["16:9"]
FPS = 24
FULL, NOTHING = 1.0, 1e-6
"""Strengths of a control. One of exactly 0 is no control, and no request is without any."""
_SEAM_PX = 8
"""On either side of the border of a weight map, where edges count as neither inside nor outside."""
_DEPTH_EVERY = 4
"""Frames of which depth is estimated."""
_TOLERANCE_PX = 1

EDGE, EDGE_0 = "edge: F1", "edge: F1 over that of weight 0"
DEPTH, DEPTH_0 = "depth: correlation", "depth: correlation, weight 0"
COLOUR = "colour is that of the prompt"
MAP = "weight map: F1 inside over outside"
GOALS = {
    EDGE: Goal(0.5, 0.7),
    EDGE_0: Goal(2, None),
    DEPTH: Goal(0.6, 0.8),
    DEPTH_0: Goal(),
    COLOUR: Goal(70, 90, "%"),
    MAP: Goal(1.3, 2),
}

Made = dict[str, list[np.ndarray]]
"""Name of a setting to the clips made under it."""


def load(asked: Asked, *names: str) -> TransferPipeline:
    """The base model with the branches of these controls, or that of edge."""
    still = np.zeros((num_frames(), *SIZE, 3), np.uint8)
    requests = [request_of(asked, name, still, "a room", FULL) for name in names or ("edge",)]
    pipeline: TransferPipeline = TransferPipeline.load(SETTINGS, requests)
    return pipeline


def num_frames() -> int:
    """One chunk."""
    return _TINY.chunk_frames


def request_of(
    asked: Asked, name: str, control_FHWC: np.ndarray, prompt: str, weight: float | Path, seed: int = 1
) -> TransferRequest:
    """A control alone: no input video tells anything beside it."""
    spec = {"control_weight": weight, "input_control": GivenFrames(control_FHWC, fps=FPS)}
    return asked.request(TransferRequest, controls={name: spec}, prompt=prompt, sigma_max=PURE_NOISE_SIGMA, seed=seed)


def edges(frames_FHWC: np.ndarray) -> np.ndarray:
    """As the control has them by default, (F, H, W) bool."""
    threshold = TransferRequest.model_fields["canny_threshold"].default
    return np.stack([outline(frame_HWC, threshold)[..., 0] > 0 for frame_HWC in frames_FHWC])


def measure(asked: Asked) -> list[Row]:
    pipeline = load(asked, "edge", "depth")
    clips = held_out(asked.num_clips, SIZE, num_frames())
    few = clips[: asked.num_untrained]
    depths = _depths(pipeline)
    trained = made_of(pipeline, asked, clips)
    with untrained(pipeline.models.dit, *pipeline.models.branches.values()):
        random = made_of(pipeline, asked, few)
    asked.kept(PART, truth=[clip.frames_FHWC for clip in clips], **trained)
    scores = (score(few_or_all, made, depths) for few_or_all, made in ((clips, trained), (few, random)))
    return rows_of(PART, GOALS, *scores, score(clips, truth_of(clips), depths), num_clips=len(clips))


def made_of(pipeline: TransferPipeline, asked: Asked, clips: list[Clip]) -> Made:
    """Clips under edge and depth, fully and hardly; under edge with another colour; under edge in one half."""
    made: Made = {name: [] for name in ("edge", "edge_0", "depth", "depth_0", "colour", "half")}

    def make(name: str, control: str, control_FHWC: np.ndarray, prompt: str, weight: float | Path) -> None:
        request = request_of(asked, control, control_FHWC, prompt, weight, seed=1 + len(made[name]))
        made[name].append(asked.made(pipeline.generate(request).frames))

    with tempfile.TemporaryDirectory() as folder:
        for index, clip in enumerate(clips):
            edge = np.repeat(edges(clip.frames_FHWC)[..., None] * np.uint8(255), 3, axis=-1)
            depth = depth_picture(clip.seen.depth_FHW)
            half = Path(folder) / f"{index}.npy"
            np.save(half, half_of(index, clip.size).astype(np.float32))
            for weight, ending in ((FULL, ""), (NOTHING, "_0")):
                make(f"edge{ending}", "edge", edge, clip.caption, weight)
                make(f"depth{ending}", "depth", depth, clip.caption, weight)
            make("colour", "edge", edge, repainted(clip, index).scene.caption(), FULL)
            make("half", "edge", edge, clip.caption, half)
    return made


def truth_of(clips: list[Clip]) -> Made:
    """What would be perfect; without a control there is nothing to be perfect in."""
    frames = [clip.frames_FHWC for clip in clips]
    other = [render(repainted(clip, index).scene, clip.size).rgb_FHW3 for index, clip in enumerate(clips)]
    return {"edge": frames, "depth": frames, "colour": other}


def half_of(index: int, size: tuple[int, int]) -> np.ndarray:
    """The left or the right half of the picture, (H, W) bool."""
    is_left = np.arange(size[1]) < size[1] // 2
    return np.broadcast_to(is_left if index % 2 else ~is_left, size)


def score(clips: list[Clip], made: Made, depths: Callable[[np.ndarray], np.ndarray]) -> Scores:
    """Every measure of what was made of clips under each setting that is there."""
    scores: Scores = {EDGE: mean(edge_scores(clips, made["edge"]))}
    if "edge_0" in made:
        scores[EDGE_0] = scores[EDGE] / max(mean(edge_scores(clips, made["edge_0"])), 1e-3)
    scores[DEPTH] = mean(depth_scores(clips, made["depth"], depths))
    if "depth_0" in made:
        scores[DEPTH_0] = mean(depth_scores(clips, made["depth_0"], depths))
    scores[COLOUR] = 100 * mean(colour_scores(clips, made["colour"]))
    if "half" in made:
        halves = [half_of(index, clip.size) for index, clip in enumerate(clips)]
        inside, outside = (
            mean(edge_scores(clips, made["half"], [_without_seam(half_HW == is_inside) for half_HW in halves]))
            for is_inside in (True, False)
        )
        scores[MAP] = inside / max(outside, 1e-3)
    return scores


def _without_seam(where_HW: np.ndarray) -> np.ndarray:
    kernel = np.ones((1, 2 * _SEAM_PX + 1), np.uint8)
    return cv2.erode(where_HW.astype(np.uint8), kernel, borderValue=1) > 0


def edge_scores(clips: list[Clip], made: list[np.ndarray], where: list[np.ndarray] | None = None) -> list[float]:
    """F1 of each clip's edges, to those of the world that it shall show."""
    places = where or [None] * len(clips)
    return [
        edge_f1(edges(clip.frames_FHWC), edges(frames), tolerance_px=_TOLERANCE_PX, where_HW=where_HW)
        for clip, frames, where_HW in zip(clips, made, places, strict=True)
    ]


def depth_scores(clips: list[Clip], made: list[np.ndarray], depths: Callable[[np.ndarray], np.ndarray]) -> list[float]:
    """Correlation of how near everything is in the world with what is estimated of each clip."""
    return [
        correlation(1 / clip.seen.depth_FHW[::_DEPTH_EVERY], depths(frames[::_DEPTH_EVERY]))
        for clip, frames in zip(clips, made, strict=True)
    ]


def colour_scores(clips: list[Clip], made: list[np.ndarray]) -> list[bool]:
    """Whether the body whose colour the prompt changed has it, where that body is."""
    scores = []
    for index, (clip, frames) in enumerate(zip(clips, made, strict=True)):
        asked = repainted(clip, index)
        scores.append(colour_within(colours_of(frames), clip.region(asked.body)) == asked.colour)
    return scores


def _depths(pipeline: TransferPipeline) -> Callable[[np.ndarray], np.ndarray]:
    """The estimator that makes the depth control out of videos: how near everything is, (F, H, W)."""
    from cosmos_plugins.transfer1.checkpoints import annotator_paths
    from cosmos_plugins.transfer1.controls.depth import DepthEstimator

    paths: Any = annotator_paths(SETTINGS)
    estimator = DepthEstimator(paths["depth"], device=pipeline.device, dtype=pipeline.dtype)
    return lambda frames_FHWC: estimator.estimate(frames_FHWC)[..., 0]
