"""Names that carry scores, and the files that go with a video."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from cosmos_cli.errors import CosmosError, InputError, Problem
from cosmos_cli.files.missing import exists, is_file, why_missing
from cosmos_cli.files.transactions import finish_all_interrupted
from cosmos_cli.files.writing import Transaction

_SCORE = re.compile(r"_(score\d{3}|unscored)$")

COMPANIONS = (".json", ".png", ".txt")
"""What may stand beside a video under its name and follows it: sidecar, contact sheet, the original's prompt file."""


def unscored_stem(video: Path) -> str:
    """The name of a video without suffix and without the score that it may carry."""
    return _SCORE.sub("", video.stem)


def scored_stem(video: Path, score: int | None) -> str:
    """The name with a score of 0 to 100 in place of the one it may carry: `street_seed3_score067`, or `_unscored`."""
    return f"{unscored_stem(video)}_{'unscored' if score is None else f'score{score:03d}'}"


def score_of(video: Path) -> int | None:
    """The score that the name carries, 0 to 100; None if it carries none."""
    found = re.search(r"_score(\d{3})$", video.stem)
    return int(found[1]) if found else None


def answers_path(video: Path) -> Path:
    """The critic's raw answers about a video, under the name that the video has."""
    return video.with_name(f"{video.stem}.critic.json")


def page_path(video: Path) -> Path:
    """The report of one video, under the name that the video has."""
    return video.with_name(f"{video.stem}.html")


def find_judged(video: Path) -> Path | None:
    """Where the video of this name lies now, with or without a score in its name; None if there is none."""
    found = namesakes(video)
    return found[0] if found else None


def namesakes(video: Path) -> list[Path]:
    """All videos in the folder whose names differ at most in their scores, in order of their names."""
    if not video.parent.is_dir():
        return []
    stem = unscored_stem(video)
    return sorted(path for path in _videos_in(video.parent) if unscored_stem(path) == stem)


def earlier_answers(video: Path) -> list[Path]:
    """Raw answers about this video under whatever score, in order of their names."""
    stem, ending = unscored_stem(video), ".critic.json"
    found = (path for path in video.parent.iterdir() if path.name.endswith(ending))
    return sorted(path for path in found if _SCORE.sub("", path.name.removesuffix(ending)) == stem)


def find_videos(paths: Sequence[Path]) -> list[Path]:
    """The videos to judge: those named, and those directly in the folders named, each once.

    Raises:
        InputError: all that is wrong: a path is missing or no mp4, a folder holds no video, or two videos would get
            one name because their names differ only in their scores.
    """
    problems: list[Problem] = []
    videos: list[Path] = []
    for path in paths:
        is_folder = exists(path) and path.is_dir()
        finish_all_interrupted(path if is_folder else path.parent)
        if is_folder:
            inside = sorted(_videos_in(path))
            if not inside:
                problems.append(Problem("holds no videos.", str(path), "Give a folder with mp4 files in it."))
            videos += inside
        elif not is_file(path):
            problems.append(Problem(f"{why_missing(path)}.", str(path), "Give a video or a folder of videos."))
        elif path.suffix.lower() != ".mp4":
            problems.append(
                Problem("is not an mp4.", str(path), "Re-encode it: reports hold videos that browsers play.")
            )
        else:
            videos.append(path)
    distinct = list({video.resolve(): video for video in videos}.values())
    problems += _clashes(distinct)
    if problems:
        raise InputError.from_problems(problems)
    return distinct


def _videos_in(folder: Path) -> list[Path]:
    # a leading dot marks what is still being written
    return [path for path in folder.iterdir() if path.suffix.lower() == ".mp4" and not path.name.startswith(".")]


def _clashes(videos: Iterable[Path]) -> list[Problem]:
    asked = {(video.parent, unscored_stem(video)): None for video in videos}
    # each folder is listed once: it may hold thousands
    found: dict[tuple[Path, str], list[str]] = {}
    for folder in {folder: None for folder, _ in asked}:
        for video in sorted(_videos_in(folder)):
            found.setdefault((folder, unscored_stem(video)), []).append(video.name)
    return [
        Problem(
            f"{' and '.join(found[one])} have one name, apart from their scores.",
            str(one[0]),
            "Rename or remove all but one.",
        )
        for one in asked
        if len(found.get(one, ())) > 1
    ]


def rename(video: Path, stem: str, together: Transaction) -> Path:
    """Give a video and its companions another stem when the transaction ends.

    Raises:
        CosmosError: another file has one of the names; nothing has been renamed then.
    """
    if video.stem == stem:
        return video
    moves = {path: path.with_name(stem + path.suffix) for path in _with_companions(video) if path.exists()}
    for target in moves.values():
        if target.exists():
            raise CosmosError(f"{target.name} exists already.", where=str(target), fix="Rename or remove it.")
    for source, target in moves.items():
        together.move(source, target)
    return moves[video]


def _with_companions(video: Path) -> list[Path]:
    return [video, *(video.with_suffix(suffix) for suffix in COMPANIONS)]
