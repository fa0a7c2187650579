"""Reports of judged videos: what was asked, the videos, their scores, and what the critic said, trial by trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from cosmos_cli.critics import Component, Trial
from cosmos_cli.errors import InputError
from cosmos_cli.files.documents import MAX_SIDECAR_BYTES, read_json
from cosmos_cli.page import inside
from cosmos_plugins.predict2.critic.judgement import Judgement, best, rank
from cosmos_plugins.predict2.critic.page import document

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
        cards.append(_card(one, own, badge=_badge(one, winners)))
    title = f"{len(cards)} video{'s' * (len(cards) != 1)}, best first"
    body = [
        f"<header><h1>{escape(title)}</h1>{_run_line(facts)}{_shortfalls(judgements)}",
        '<button id="together" hidden>Play all together</button></header>' if len(cards) > 1 else "</header>",
        _asked(shared),
        f'<main class="cards">{"".join(cards)}</main>',
    ]
    return document(title, "\n".join(body))


def video_page(judgement: Judgement, facts: Facts) -> str:
    """The report of one video, with every trial open to read."""
    made = _how_it_was_made(judgement.video)
    body = [
        f'<div class="alone"><header><h1>{_breakable(judgement.video.name)}</h1>{_run_line(facts)}</header>',
        f"<main>{_card(judgement, {}, is_alone=True)}</main>",
        f"{_asked(made, is_open=True)}</div>",
    ]
    return document(judgement.video.name, "\n".join(body))


def _run_line(facts: Facts) -> str:
    answers = f"up to {facts.num_trials} answers per video" if facts.num_trials > 1 else "one answer per video"
    return (
        f'<p class="faint">{facts.date:%Y-%m-%d %H:%M}. Critic: {escape(facts.critic)}; {answers}, '
        f"from seed {facts.seed}. Scores go from 0 to 100, higher is better.</p>"
    )


def _shortfalls(judgements: Sequence[Judgement]) -> str:
    unread, answers = sum(one.num_unread for one in judgements), sum(len(one.trials) for one in judgements)
    failed = sum(bool(one.error) for one in judgements)
    lines = []
    if unread:
        lines.append(f"{unread} of {answers} answers could not be read and count in no score.")
    if failed:
        lines.append(f"{failed} of {len(judgements)} videos could not be judged.")
    return "".join(f'<p><span class="verdict open">{line}</span></p>' for line in lines)


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


def _asked(made: Mapping[str, Any], *, is_open: bool = False) -> str:
    """Prompts, cut to two lines until they are tapped, and settings."""
    if not made:
        return ""
    parts = [
        f'<details class="long"><summary><span class="label">{label}</span>'
        f'<span class="text">{escape(str(made[name]))}</span></summary></details>'
        for name, label in _TEXTS.items()
        if made.get(name)
    ]
    settings = {name: value for name, value in made.items() if name not in _TEXTS}
    if settings:
        opened = " open" if is_open else ""
        parts.append(f"<details{opened}><summary>Settings</summary>{_table(settings)}</details>")
    return f'<section class="asked" aria-label="What was asked">{"".join(parts)}</section>'


def _table(values: Mapping[str, Any]) -> str:
    rows = (f"<dt>{escape(_words(name))}</dt><dd>{escape(_shown(value))}</dd>" for name, value in values.items())
    return f"<dl>{''.join(rows)}</dl>"


def _words(name: str) -> str:
    return _TEXTS.get(name, name.replace("_", " "))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _card(judgement: Judgement, own: Mapping[str, Any], *, badge: str = "", is_alone: bool = False) -> str:
    """One video with its score and the critic's reasons; `own` is what only holds for this video."""
    parts = [_score(judgement, badge)]
    if not is_alone:
        parts.append(f"<h2>{_breakable(judgement.video.name)}</h2>")
    parts.append(_counts(judgement.trials))
    if judgement.error:
        parts.append(f'<p class="verdict open">Could not be judged: {escape(judgement.error)}</p>')
    if own:
        parts.append(_table(own))
    parts += [_trial(number, trial, is_open=is_alone) for number, trial in enumerate(judgement.trials, start=1)]
    text = f'<div class="inside">{"".join(parts)}</div>'
    return f'<article class="card{" best" if badge else ""}">{_video(judgement.video)}{text}</article>'


def _video(path: Path) -> str:
    try:
        source = inside(path.read_bytes(), "video/mp4")
    except OSError:
        return ""  # its card says why
    return (
        f'<video controls muted loop playsinline preload="metadata" aria-label="{escape(path.name)}" '
        f'src="{source}"></video>'
    )


def _breakable(name: str) -> str:
    """A file name that may go on in a new line after each of its words."""
    return escape(name).replace("_", "_<wbr>")


def _score(judgement: Judgement, badge: str) -> str:
    if judgement.score is None:
        return '<div class="headline"><span class="score">–</span><span class="faint">no score</span></div>'
    return (
        f'<div class="headline"><span class="score">{judgement.score}<small> / 100</small></span>'
        f'<span class="badge">{badge}</span></div>'
        f'<div class="bar"><span style="width: {judgement.score}%"></span></div>'
    )


def _counts(trials: Sequence[Trial]) -> str:
    """How many trials found what; one count each, also where it is 0."""
    if not trials:
        return ""
    num_unread = sum(trial.value is None for trial in trials)
    verdicts = [trial.verdict for trial in trials if trial.value is not None]
    counts = [
        ("good", verdicts.count(True), "no anomaly"),
        ("bad", verdicts.count(False), "anomaly"),
        ("open", num_unread, "not readable"),
    ]
    items = (f'<li class="{kind if count else "none"}">{label}: {count}</li>' for kind, count, label in counts)
    return f'<ul class="counts">{"".join(items)}</ul>'


def _trial(number: int, trial: Trial, *, is_open: bool) -> str:
    kind, words = _verdict(trial)
    parts = [f"<p>{escape(trial.overview)}</p>" if trial.overview else "", *map(_component, trial.components)]
    # an answer that could not be read has nothing but its words to show
    unfolded = " open" if trial.value is None else ""
    parts.append(
        f"<details{unfolded}><summary>Word for word</summary><pre>{escape(trial.text) or '(nothing)'}</pre></details>"
    )
    return (
        f"<details{' open' if is_open else ''}><summary>Trial {number}: "
        f'<span class="verdict {kind}">{words}</span></summary><div class="trial">{"".join(parts)}</div></details>'
    )


def _verdict(trial: Trial) -> tuple[str, str]:
    if trial.value is None:
        return "open", "could not be read"
    kind = {True: "good", False: "bad", None: "none"}[trial.verdict]
    words = {True: "no anomaly", False: "anomaly", None: ""}[trial.verdict]
    if trial.score is not None:
        # cut as the score of the video is, so that one number is not shown as two
        words = f"{int(trial.score)} / 100{', ' * bool(words)}{words}"
    return kind, words


def _component(component: Component) -> str:
    kind = {True: "bad", False: "good", None: "none"}[component.anomaly]
    words = {True: " – anomaly", False: " – no anomaly", None: ""}[component.anomaly]
    return (
        f'<div class="component {kind}"><strong>{escape(component.name)}{words}</strong>'
        f"<p>{escape(component.analysis)}</p></div>"
    )
