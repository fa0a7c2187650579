"""What a critic said about one video: in memory, and in the `.critic.json` beside the video."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cosmos_cli.critics import Trial, mean, score
from cosmos_cli.errors import InputError
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.identity import digest
from cosmos_cli.files.writing import write_json


@dataclass(frozen=True)
class Question:
    """All that a judgement depends on; the same question is not asked twice."""

    critic: str
    num_trials: int
    seed: int
    video_sha256: str

    @classmethod
    def about(cls, video: Path, *, critic: str, num_trials: int, seed: int) -> Question:
        """The question to ask about a video as it is now."""
        return cls(critic, num_trials, seed, digest(video))


@dataclass(frozen=True)
class Answers:
    """A question and every trial's answer to it."""

    question: Question
    trials: tuple[Trial, ...]

    def write(self, path: Path) -> None:
        """Write them as JSON, with the score they come to."""
        write_json(path, {**asdict(self.question), "score": score(self.trials), "trials": [*map(asdict, self.trials)]})


def read_answers(paths: Iterable[Path], question: Question) -> Answers | None:
    """The answers to exactly this question out of the first file that holds them; None if none does.

    Files that are damaged, or from somewhere else, hold none.
    """
    for path in paths:
        try:
            document = _DOCUMENT.validate_python(read_json(path))
            found = Answers(_QUESTION.validate_python(document), _TRIALS.validate_python(document.get("trials")))
        except (ValidationError, InputError):
            continue
        if found.question == question:
            return found
    return None


_DOCUMENT = TypeAdapter(dict[str, Any])
_QUESTION = TypeAdapter(Question)
_TRIALS = TypeAdapter(tuple[Trial, ...])


@dataclass(frozen=True)
class Judgement:
    """The outcome for one video.

    video: under the name that it has now, with its score.
    score: 0 to 100, higher is better; None if no answer could be read, or the video could not be judged.
    error: why it could not be judged; empty if it could.
    is_reused: whether the answers are from an earlier run.
    """

    video: Path
    score: int | None
    trials: tuple[Trial, ...]
    error: str = ""
    is_reused: bool = False

    @property
    def num_unread(self) -> int:
        """Answers that hold no verdict and no number, and so do not count."""
        return sum(trial.value is None for trial in self.trials)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "video": str(self.video),
            "status": "failed" if self.error else "ok",
            "error": self.error,
            "score": self.score,
            "num_trials": len(self.trials),
            "num_unread": self.num_unread,
            "is_reused": self.is_reused,
        }


def rank(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Best first, by the score before it was cut to an integer; equals by name; those without a score last."""
    return sorted(judgements, key=lambda one: (one.score is None, -(mean(one.trials) or 0), one.video.name))


def best(judgements: Iterable[Judgement]) -> list[Judgement]:
    """The first by `rank`, with its equals; none if nothing has a score."""
    ranked = [one for one in rank(judgements) if one.score is not None]
    return [one for one in ranked if mean(one.trials) == mean(ranked[0].trials)]
