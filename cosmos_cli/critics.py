"""Judges of finished videos: what a critic is, and how its answers become a score."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours


@dataclass(frozen=True)
class Component:
    """What a critic says about one part of a video, such as an object or a property.

    anomaly: whether it found something wrong there; None if it does not say.
    """

    name: str
    analysis: str
    anomaly: bool | None = None


@dataclass(frozen=True)
class Trial:
    """One answer of a critic.

    text: the answer word for word.
    verdict: True for no anomaly, False for an anomaly, None if the answer holds no verdict that can be read.
    score: 0 to 100, higher is better, from critics that give numbers; it then counts in place of the verdict.
    overview: what the critic says about the video as a whole.
    components: what it says about the parts.
    Raises:
        ValueError: the score is not within 0 to 100.
    """

    text: str
    verdict: bool | None
    score: float | None = None
    overview: str = ""
    components: tuple[Component, ...] = ()

    def __post_init__(self) -> None:
        if self.score is not None and not 0 <= self.score <= 100:
            raise ValueError(f"a trial's score is {self.score}, which is not within 0 to 100")

    @property
    def value(self) -> float | None:
        """What the trial counts in the score, 0 to 100; None if it could not be read and does not count."""
        if self.score is not None:
            return self.score
        return None if self.verdict is None else 100.0 * self.verdict


class Critic(Protocol):
    """A judge of videos; plugins register a factory with the hook `cosmos_register_critics`.

    name: who judges, as reports show it, with the model and all else that its judgement depends on: a video that a
        critic of this name has judged is not judged again.
    """

    name: str

    def judge(self, frames_FHWC: np.ndarray, fps: float, *, num_trials: int, seed: int) -> list[Trial]:
        """Judge one video.

        Args:
            frames_FHWC: uint8 RGB.
            fps: frames per second.
            num_trials: how many answers to give; a critic whose answers do not vary gives one.
            seed: of whatever is random; the same seed gives the same answers.
        """


@runtime_checkable
class ComparingCritic(Critic, Protocol):
    """A critic that judges videos of one request better if it knows all of them. Only those of best-of-n are such."""

    def among(self, clips_FHWC: Iterable[np.ndarray]) -> Critic:
        """The critic to judge each of these videos with; its name differs for other videos.

        Args:
            clips_FHWC: uint8 RGB, read one by one as they are asked for.
        """


def mean(trials: Iterable[Trial]) -> float | None:
    """Mean over the trials that could be read, 0 to 100; None if there are none."""
    values = [trial.value for trial in trials if trial.value is not None]
    return statistics.fmean(values) if values else None


def score(trials: Iterable[Trial]) -> int | None:
    """The mean, truncated to an integer.

    For verdicts this is the percentage of trials that found no anomaly.

    Source: cosmos-predict2, examples/video2world_bestofn.py (behaviour), which gives 0 where nothing could be read.
    """
    exact = mean(trials)
    return None if exact is None else int(exact)
