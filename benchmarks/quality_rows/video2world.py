"""Continuing a clip: is the beginning kept, does what is named move as named, and how near is the truth."""

from __future__ import annotations

import numpy as np

from benchmarks.quality_rows.asked import Asked
from benchmarks.quality_rows.clips import Clip, held_out, mover
from benchmarks.quality_rows.metrics import carried_on, colours_of, extrapolated, mean, moves, psnr, track
from benchmarks.quality_rows.rows import Goal, Row, Scores, rows_of
from benchmarks.quality_rows.weights import untrained
from cosmos_plugins.predict2.variants import VARIANTS
from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings

# F frames, H and W pixel height and width, C = 3 colours

PART, NUM_CLIPS = "video2world", 50
SETTINGS = Video2WorldSettings(model_size="tiny", disable_prompt_refiner=True)
_TINY = VARIANTS[SETTINGS.model_size]
SIZE = _TINY.sizes[SETTINGS.resolution_used]["16:9"]
_FEW, _MANY = 1, 5
"""Given frames: the default, and as many as show how things move."""

KEPT, MOVED = "first frame: PSNR", "named object moves as named"
AHEAD_1, AHEAD_5 = "continuation: PSNR, 1 frame given", "continuation: PSNR, 5 frames given"
BEATS_FIRST = "clips nearer to the truth than repeating it, 1 frame given"
BEATS_LAST = "clips nearer to the truth than repeating the last, 5 frames given"
BEATS_LINE = "clips nearer to the truth than linear extrapolation, 5 frames given"
BEATS_FLOW = "clips nearer to the truth than motion carried on, 5 frames given"
MORE_LAST, MORE_LINE, MORE_FLOW = (
    f"continuation: PSNR above {what}, 5 frames given"
    for what in ("repeating the last", "linear extrapolation", "motion carried on")
)
MORE_FIRST = "continuation: PSNR above repeating it, 1 frame given"
GOALS = {
    KEPT: Goal(26, 30, "dB"),
    MOVED: Goal(70, 90, "%"),
    AHEAD_1: Goal(unit="dB"),
    AHEAD_5: Goal(unit="dB"),
    MORE_FIRST: Goal(0, None, "dB"),
    MORE_LAST: Goal(0, None, "dB"),
    MORE_LINE: Goal(None, 0, "dB"),
    MORE_FLOW: Goal(unit="dB"),
    BEATS_FIRST: Goal(unit="%"),
    BEATS_LAST: Goal(unit="%"),
    BEATS_LINE: Goal(unit="%"),
    BEATS_FLOW: Goal(unit="%"),
}


def load(asked: Asked) -> Video2WorldPipeline:
    pipeline: Video2WorldPipeline = Video2WorldPipeline.load(SETTINGS)
    return pipeline


def num_frames() -> int:
    return _TINY.num_frames[SETTINGS.fps]


def continued(
    pipeline: Video2WorldPipeline, asked: Asked, clip: Clip, *, num_given: int = _FEW, seed: int = 0
) -> np.ndarray:
    """What the model makes of the beginning of a clip and its caption, (F, H, W, 3) uint8."""
    request = asked.request(
        Video2WorldRequest,
        input_path=clip.frames_FHWC[:num_given],
        prompt=clip.caption,
        num_conditional_frames=num_given,
        seed=seed,
    )
    return asked.made(pipeline.generate(request).frames)


def clips_of_movers(count: int) -> list[Clip]:
    """Worlds in which the caption names where something moves."""
    return held_out(count, SIZE, num_frames(), wanted=lambda clip: mover(clip) is not None)


def measure(asked: Asked) -> list[Row]:
    pipeline = load(asked)
    clips = clips_of_movers(asked.num_clips)
    few = clips[: asked.num_untrained]

    def made(clips: list[Clip], num_given: int) -> list[np.ndarray]:
        return [continued(pipeline, asked, clip, num_given=num_given, seed=i) for i, clip in enumerate(clips)]

    trained = [made(clips, num_given) for num_given in (_FEW, _MANY)]
    with untrained(pipeline.models.dit):
        random = [made(few, num_given) for num_given in (_FEW, _MANY)]
    truth = [clip.frames_FHWC for clip in clips]
    asked.kept(PART, truth=truth, given_1=trained[0], given_5=trained[1], untrained=random[0])
    return rows_of(
        PART,
        GOALS,
        score(clips, *trained),
        score(few, *random),
        score(clips, truth, truth),
        num_clips=len(clips),
    )


def score(clips: list[Clip], after_1: list[np.ndarray], after_5: list[np.ndarray]) -> Scores:
    """Every measure of what was made of clips, after one given frame and after five."""
    ahead_1, ahead_5 = (
        np.array([_ahead(frames, clip, given) for frames, clip in zip(made, clips, strict=True)])
        for made, given in ((after_1, _FEW), (after_5, _MANY))
    )
    first, last, line, flow = np.array([_simple(clip) for clip in clips]).T
    return {
        KEPT: mean(psnr(frames[0], clip.frames_FHWC[0]) for frames, clip in zip(after_1, clips, strict=True)),
        MOVED: 100 * mean(moves_as_named(frames, clip) for frames, clip in zip(after_1, clips, strict=True)),
        AHEAD_1: mean(ahead_1),
        MORE_FIRST: mean(ahead_1 - first),
        BEATS_FIRST: 100 * mean(ahead_1 > first),
        AHEAD_5: mean(ahead_5),
        MORE_LAST: mean(ahead_5 - last),
        MORE_LINE: mean(ahead_5 - line),
        MORE_FLOW: mean(ahead_5 - flow),
        BEATS_LAST: 100 * mean(ahead_5 > last),
        BEATS_LINE: 100 * mean(ahead_5 > line),
        BEATS_FLOW: 100 * mean(ahead_5 > flow),
    }


def moves_as_named(frames_FHWC: np.ndarray, clip: Clip) -> bool:
    """Whether the object whose way the caption names is found by its colour, and moves so."""
    named = mover(clip)
    assert named is not None
    colour, where = named
    return moves(track(colours_of(frames_FHWC), colour), where, min(clip.size))


def _ahead(frames_FHWC: np.ndarray, clip: Clip, num_given: int) -> float:
    return psnr(frames_FHWC[num_given:], clip.frames_FHWC[num_given:])


def _simple(clip: Clip) -> tuple[float, float, float, float]:
    """PSNR to the truth of what needs no model: the given frame, the last of five, both ways to go on from five."""
    frames_FHWC, given_FHWC = clip.frames_FHWC, clip.frames_FHWC[:_MANY]
    rest = len(frames_FHWC) - _MANY
    return (
        psnr(np.repeat(frames_FHWC[:1], len(frames_FHWC) - _FEW, axis=0), frames_FHWC[_FEW:]),
        psnr(np.repeat(given_FHWC[-1:], rest, axis=0), frames_FHWC[_MANY:]),
        psnr(extrapolated(given_FHWC, rest), frames_FHWC[_MANY:]),
        psnr(carried_on(given_FHWC, rest), frames_FHWC[_MANY:]),
    )
