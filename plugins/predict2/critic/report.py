"""Reports of judged videos: what was asked, the videos, their scores, and what the critic said, trial by trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cosmos_cli.critics import Component, Trial
from cosmos_cli.errors import InputError
from cosmos_cli.files.documents import MAX_SIDECAR_BYTES, read_json
from cosmos_cli.page import inside, render
from cosmos_plugins.predict2.critic.judgement import Judgement, best, rank

_ABOUT_FILES = {"save_path", "overwrite", "preview", "benchmark", "cache_dir", "checkpoint_dir"}
"""Fields of a request that say where things lie, not how the video was made."""

_TEXTS = {"prompt": "Prompt", "prompt_used": "Refined prompt", "negative_prompt": "Negative prompt"}
"""Long fields and what to call them, in the order to show them."""


@dataclass(frozen=True)
class Facts:
    """What holds for a whole run.

    critic: its name. num_trials: how often it was asked about each video. seed: of the critic.
    """

    critic: str
    num_trials: int
    seed: int
    date: datetime


@dataclass(frozen=True)
class _Asked:
    """What was asked, as people read it: prompts and settings, each with its label."""

    texts: list[tuple[str, str]]
    settings: list[tuple[str, str]]

    @classmethod
    def of(cls, made: Mapping[str, Any]) -> _Asked | None:
        """None if nothing is known."""
        texts = [(label, str(made[name])) for name, label in _TEXTS.items() if made.get(name)]
        return cls(texts, _table({name: value for name, value in made.items() if name not in _TEXTS})) if made else None


@dataclass(frozen=True)
class _Answer:
    """One trial. kind, words: of its verdict."""

    kind: str
    words: str
    overview: str
    components: Sequence[Component]
    text: str

    @classmethod
    def of(cls, trial: Trial) -> _Answer:
        return cls(*_verdict(trial), trial.overview, trial.components, trial.text)


@dataclass(frozen=True)
class _Card:
    """One video with its score and the critic's reasons. own: what only holds for this video."""

    name: str
    source: str
    score: int | None
    badge: str
    counts: list[tuple[str, str, int]]
    error: str
    own: list[tuple[str, str]]
    trials: list[_Answer]

    @classmethod
    def of(cls, judgement: Judgement, own: Mapping[str, Any], *, badge: str = "") -> _Card:
        return cls(
            judgement.video.name,
            _source(judgement.video),
            judgement.score,
            badge,
            _counts(judgement.trials),
            judgement.error,
            _table(own),
            [_Answer.of(trial) for trial in judgement.trials],
        )


def run_page(judgements: Sequence[Judgement], facts: Facts) -> str:
    """The report of a run: all videos, best first, in one HTML document that needs no other file.

    What their sidecars have in common stands at the top, what differs beside each video.
    """
    made = {one.video: _how_it_was_made(one.video) for one in judgements}
    shared = _shared(list(made.values()))
    winners = best(judgements)
    cards = []
    for one in rank(judgements):
        own = {name: value for name, value in made[one.video].items() if name not in shared}
        cards.append(_Card.of(one, own, badge=_badge(one, winners)))
    return render(
        "cosmos_plugins.predict2.critic:report.html.j2",
        title=f"{len(cards)} video{'s' * (len(cards) != 1)}, best first",
        facts=facts,
        shortfalls=_shortfalls(judgements),
        made=_Asked.of(shared),
        cards=cards,
    )


def video_page(judgement: Judgement, facts: Facts) -> str:
    """The report of one video, with every trial open to read."""
    return render(
        "cosmos_plugins.predict2.critic:video.html.j2",
        one=_Card.of(judgement, {}),
        facts=facts,
        made=_Asked.of(_how_it_was_made(judgement.video)),
    )


def _shortfalls(judgements: Sequence[Judgement]) -> list[str]:
    unread, answers = sum(one.num_unread for one in judgements), sum(len(one.trials) for one in judgements)
    failed = sum(bool(one.error) for one in judgements)
    lines = []
    if unread:
        lines.append(f"{unread} of {answers} answers could not be read and count in no score.")
    if failed:
        lines.append(f"{failed} of {len(judgements)} videos could not be judged.")
    return lines


def _badge(judgement: Judgement, winners: Sequence[Judgement]) -> str:
    if judgement not in winners:
        return ""
    return "Best" if len(winners) == 1 else "Best, tied"


def _how_it_was_made(video: Path) -> dict[str, Any]:
    """The fields of the request that made a video and the prompt it used, from its sidecar; empty if there is none."""
    try:
        sidecar = read_json(video.with_suffix(".json"), limit=MAX_SIDECAR_BYTES)
    except InputError:
        return {}
    # a file of this name may be anything, such as the list of answers that the original leaves
    if not isinstance(sidecar, dict) or not isinstance(sidecar.get("request"), dict):
        return {}
    made = {name: value for name, value in sidecar["request"].items() if name not in _ABOUT_FILES and value is not None}
    used = sidecar.get("prompt_used")
    if used and used != made.get("prompt"):
        made["prompt_used"] = used
    weights, environment = sidecar.get("weights"), sidecar.get("environment")
    if isinstance(weights, dict):
        files = [Path(str(file["path"])).name for file in weights.values() if isinstance(file, dict) and "path" in file]
        made["weights"] = ", ".join(files)
    return made | (environment if isinstance(environment, dict) else {})


def _shared(made: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The fields that all videos have with one value, other than the seed, which belongs to its video."""
    first, *rest = made
    return {
        name: value
        for name, value in first.items()
        if name != "seed" and all(name in other and other[name] == value for other in rest)
    }


def _table(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(_TEXTS.get(name, name.replace("_", " ")), _shown(value)) for name, value in values.items()]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _source(path: Path) -> str:
    try:
        return inside(path.read_bytes(), "video/mp4")
    except OSError:
        return ""  # its card says why


def _counts(trials: Sequence[Trial]) -> list[tuple[str, str, int]]:
    """How many trials found what; one count each, also where it is 0."""
    if not trials:
        return []
    num_unread = sum(trial.value is None for trial in trials)
    verdicts = [trial.verdict for trial in trials if trial.value is not None]
    return [
        ("good", "no anomaly", verdicts.count(True)),
        ("bad", "anomaly", verdicts.count(False)),
        ("open", "not readable", num_unread),
    ]


def _verdict(trial: Trial) -> tuple[str, str]:
    if trial.value is None:
        return "open", "could not be read"
    kind = {True: "good", False: "bad", None: "none"}[trial.verdict]
    words = {True: "no anomaly", False: "anomaly", None: ""}[trial.verdict]
    if trial.score is not None:
        # cut as the score of the video is, so that one number is not shown as two
        words = f"{int(trial.score)} / 100{', ' * bool(words)}{words}"
    return kind, words
