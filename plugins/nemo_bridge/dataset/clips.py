"""The videos of a raw data set with their texts, and what is wrong with them. Without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cosmos_cli import output
from cosmos_cli.errors import InputError, Problem
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.identity import fingerprint
from cosmos_cli.files.missing import exists
from cosmos_cli.media.video import read_last_frames
from cosmos_cli.models.prompt_length import check_prompt_length
from cosmos_cli.training.data.checking import in_threads
from cosmos_cli.training.data.folders import CLIP_SUFFIX, VIDEOS, stems

INSTRUCTIONS = "instructions"
KEY = "language_instruction_0"

_INSTRUCTION_BYTES = 1 << 20
_WAY_OUT = "or pass --skip-bad to go on without it."


@dataclass(frozen=True)
class Clip:
    """A video that samples are cut from.

    text: its prompt. fingerprint: tells its content from others. height, width: upright, in pixels. fps: its own rate.
    """

    path: Path
    text: str
    fingerprint: str
    num_frames: int
    height: int
    width: int
    fps: float


@dataclass(frozen=True)
class _Look:
    """What was found out about a video. clip: None where it cannot be read. problems: of it and of its instruction."""

    clip: Clip | None
    problems: Sequence[Problem]


def find_clips(
    folder: Path,
    prompt: str | None,
    *,
    chunk_frames: int,
    skips_bad: bool,
    known: Mapping[str, Clip] | None = None,
) -> tuple[list[Clip], list[Problem]]:
    """The videos of a data set, sorted by name, each decoded to its end; and what is wrong with those left out.

    Args:
        prompt: of all videos; None reads their instructions.
        skips_bad: leave out what cannot be used, unless nothing is left.
        known: by their fingerprints, videos that were decoded before.
    Raises:
        InputError: there are no videos, or all that is wrong with them and their instructions.
    """
    known = known or {}
    videos = folder if prompt is not None else folder / VIDEOS
    paths = list(stems(videos).values())
    if not paths:
        raise _no_videos(folder, videos)
    with output.progress(f"Reading {len(paths)} videos", len(paths), "videos") as advance:
        looks = in_threads(partial(_look, prompt, chunk_frames, known), paths, advance)
    short = [look.clip for look in looks if look.clip is not None and look.clip.num_frames < chunk_frames]
    problems = [*_of_short(short, videos, chunk_frames), *(problem for look in looks for problem in look.problems)]
    good = [look.clip for look in looks if look.clip is not None and look.clip not in short and not look.problems]
    if problems and not (skips_bad and good):
        raise InputError.from_problems(problems)
    return good, problems


def _no_videos(folder: Path, videos: Path) -> InputError:
    if not folder.is_dir():
        return InputError("there is no such folder.", where=str(folder), fix="Give the folder of the videos.")
    if not videos.is_dir():
        return InputError(
            "there is no such folder.",
            where=str(videos),
            fix=f"Put the videos there, and NAME.json beside it in {INSTRUCTIONS}/.",
        )
    return InputError(
        f"holds no videos (*{CLIP_SUFFIX}).", where=str(videos), fix="Give the folder in which they are themselves."
    )


def _of_short(short: Sequence[Clip], videos: Path, chunk_frames: int) -> list[Problem]:
    """One problem of all: there may be many, and their lengths are all that is to be known."""
    if not short:
        return []
    lengths = ", ".join(f"{clip.path.name} ({clip.num_frames})" for clip in short)
    number = "a video" if len(short) == 1 else f"{len(short)} videos"
    what = f"holds {number} with fewer than the {chunk_frames} frames of a sample: {lengths}."
    return [Problem(what, str(videos), "Remove what is too short, or pass --skip-bad to go on without.")]


def _look(prompt: str | None, chunk_frames: int, known: Mapping[str, Clip], path: Path) -> _Look:
    problems: list[Problem] = []
    text, clip = prompt or "", None
    try:
        clip = _decoded(path, known)
    except InputError as error:
        problems += [Problem(each.what, each.where, f"Repair it, {_WAY_OUT}") for each in error.problems]
    if prompt is None:
        try:
            text = read_instruction(path)
        except InputError as error:
            problems += error.problems
    return _Look(clip and replace(clip, path=path, text=text), problems)


def _decoded(path: Path, known: Mapping[str, Clip]) -> Clip:
    try:
        own = fingerprint(path)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}.", where=str(path)) from error
    if own in known:
        return known[own]
    # to its end: what is damaged in its midst shows nowhere else, and takes seconds beside the minutes of encoding
    last = read_last_frames(path, 1)
    height, width = last.frames_FHWC.shape[1:3]
    if not last.fps:
        raise InputError("does not say how many frames a second has.", where=str(path))
    return Clip(path, "", own, last.num_source_frames, height, width, last.fps)


def read_instruction(video: Path) -> str:
    """The instruction of a video. Raises InputError: its file is missing, or holds none."""
    path = video.parent.parent / INSTRUCTIONS / f"{video.stem}.json"
    if not exists(path):
        raise InputError(
            f"is missing: the instruction of {video.name}.",
            where=str(path),
            fix=f'Write one, such as {{"{KEY}": "pick up the cup"}}, {_WAY_OUT}',
        )
    document = read_json(path, limit=_INSTRUCTION_BYTES)
    text = document.get(KEY) if isinstance(document, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise InputError(_without_text(document), where=str(path), fix=f"Give {KEY} a sentence, {_WAY_OUT}")
    check_prompt_length(text, where=str(path))
    return text


def _without_text(document: object) -> str:
    if not isinstance(document, dict):
        return f"is no JSON object with the key {KEY}."
    if KEY not in document:
        there = ", ".join(sorted(document)[:5]) or "nothing"
        return f"has no key {KEY}; it holds {there}."
    return f"has no text under the key {KEY}."
