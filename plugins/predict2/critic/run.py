"""Judging videos: read, ask the critic, name the files by score, write the reports."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from cosmos_cli import output
from cosmos_cli.critics import ComparingCritic, Critic, score
from cosmos_cli.errors import CosmosError
from cosmos_cli.files.transactions import transaction
from cosmos_cli.files.writing import replacing
from cosmos_cli.media.video import read_video
from cosmos_cli.redaction import hide
from cosmos_cli.runtime.extensions import blaming
from cosmos_plugins.predict2.critic import files
from cosmos_plugins.predict2.critic.judgement import Answers, Judgement, Question, rank, read_answers
from cosmos_plugins.predict2.critic.report import Facts, run_page, video_page

REPORT_NAME = "report.html"


def judge_videos(
    paths: Sequence[Path],
    critic: Critic,
    *,
    num_trials: int,
    seed: int,
    folder: Path,
    again: bool = False,
    together: bool = False,
    date: datetime | None = None,
) -> list[Judgement]:
    """Judge videos, put the scores into their names, and write a report of each and one of all.

    Beside each video go the raw answers (`<name>.critic.json`) and its report (`<name>.html`), under its new name. A
    video that this critic has answered the same question about is not judged again, so an interrupted run goes on where
    it stopped. A video that cannot be judged keeps its name and costs the others nothing.

    Args:
        paths: videos, or folders whose videos are meant.
        num_trials: how often to ask about each video.
        seed: of the critic; the same for every video.
        folder: where the report of the whole run goes, as `report.html`.
        again: ask again even where the answers are known.
        together: all are of one request; a critic that compares them may.
        date: to put into the reports; now, if left out.
    Returns:
        Best first; those with an `error` last.
    Raises:
        InputError: there is nothing to judge; nothing has been judged then.
    """
    videos = files.find_videos(paths)
    if together and len(videos) > 1 and isinstance(critic, ComparingCritic):
        with blaming(f"critic {critic.name}"):
            critic = critic.among(_readable(videos))
    facts = Facts(critic.name, num_trials, seed, date or datetime.now().astimezone())
    judgements = []
    with output.progress("Judging", len(videos), unit="videos") as advance:
        for video in videos:
            judgements.append(_judge(video, critic, facts, again=again))
            advance()
    ranked = rank(judgements)
    _write(folder / REPORT_NAME, run_page(ranked, facts))
    return ranked


def _readable(videos: Sequence[Path]) -> Iterator[np.ndarray]:
    """The frames of each; one that cannot be read says so when its turn comes to be judged."""
    for video in videos:
        with contextlib.suppress(CosmosError):
            yield read_video(video).frames_FHWC


def _judge(video: Path, critic: Critic, facts: Facts, *, again: bool) -> Judgement:
    try:
        question = Question.about(video, critic=facts.critic, num_trials=facts.num_trials, seed=facts.seed)
        earlier = files.earlier_answers(video)
        known = None if again else read_answers(earlier, question)
        answers = known or _ask(video, critic, question)
        named = _name_by_score(video, answers, earlier)
        judgement = Judgement(named, score(answers.trials), answers.trials, is_reused=known is not None)
        _write(files.page_path(named), video_page(judgement, facts))
    except Exception as error:  # a critic of another package may raise anything; the other videos shall not suffer
        reason = str(error) if isinstance(error, CosmosError) else f"{type(error).__name__}: {error}"
        output.notice(f"{video.name} could not be judged: {reason}")
        return Judgement(video, None, (), error=reason)
    return judgement


def _ask(video: Path, critic: Critic, question: Question) -> Answers:
    clip = read_video(video)
    with blaming(f"critic {question.critic}"):
        trials = critic.judge(clip.frames_FHWC, clip.fps, num_trials=question.num_trials, seed=question.seed)
    return Answers(question, tuple(trials))


def _name_by_score(video: Path, answers: Answers, earlier: Sequence[Path]) -> Path:
    """Keep the answers, rename the video, and remove what was said under its former score: all of it or nothing."""
    stem = files.scored_stem(video, score(answers.trials))
    kept = files.answers_path(video.with_name(stem + video.suffix))
    with transaction([kept]) as together:
        answers.write(kept)
        named = files.rename(video, stem, together)
        for old in earlier:
            if old != kept:
                together.remove(old)
                together.remove(old.with_name(old.name.removesuffix(".critic.json") + ".html"))
    return named


def _write(path: Path, page: str) -> None:
    with replacing(path) as temporary:
        # names of videos may hold bytes that are not UTF-8
        temporary.write_text(hide(page), encoding="utf-8", errors="backslashreplace")
