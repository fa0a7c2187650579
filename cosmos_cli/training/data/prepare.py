"""Text embeddings of a data set: of every caption, and of every camera's sentence where there are several cameras."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from torch import Tensor

from cosmos_cli import output
from cosmos_cli.errors import InputError, Problem
from cosmos_cli.files.documents import read_text
from cosmos_cli.files.missing import is_file
from cosmos_cli.files.writing import replacing
from cosmos_cli.generation.cameras import SENTENCES
from cosmos_cli.models.prompt_length import check_prompt_length
from cosmos_cli.training.data.checking import tell
from cosmos_cli.training.data.embeddings import SUFFIXES, write_embedding
from cosmos_cli.training.data.folders import CAPTIONS, PREFIXES, TEXTS, VIDEOS, stems
from cosmos_cli.training.data.views import prefix_of

_CAPTION_BYTES = 64 << 10
_MAX_TOKENS = 512

Encode = Callable[[str], tuple[Tensor, int]]
"""A text to its embedding (1, 512, C), zeros behind the text, and the number of its tokens before they were cut."""


@dataclass(frozen=True)
class Job:
    """One embedding to be made. source: file of the text; None where it is not in one."""

    target: Path
    text: str
    source: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """num_written, num_kept: embeddings that were made now, and that were there. num_texts: that were encoded."""

    folder: Path
    num_written: int
    num_kept: int
    num_texts: int

    def summary(self) -> str:
        kept = f", {self.num_kept} were there already" if self.num_kept else ""
        return f"Wrote {self.num_written} embeddings of {self.num_texts} texts{kept}: {self.folder}"

    def document(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "written": self.num_written,
            "kept": self.num_kept,
            "texts": self.num_texts,
        }


def find_jobs(folder: Path, prompt: str | None = None) -> list[Job]:
    """Every embedding that a data set needs.

    Args:
        prompt: caption of all clips; None reads theirs.
    Raises:
        InputError: captions are missing, empty, too long or not text, or a camera has no sentence that is known.
    """
    if not folder.is_dir():
        raise InputError("there is no such folder.", where=str(folder), fix="Give the folder that holds videos/.")
    videos = folder / VIDEOS
    cameras = [] if stems(videos) else [name for name in _folders_in(videos) if stems(videos / name)]
    jobs: list[Job] = []
    problems: list[Problem] = []
    captions = list(_captions(folder, cameras, prompt))
    if not captions:
        raise InputError(
            "holds no captions (*.txt)." if prompt is None else "holds no videos (*.mp4).",
            where=str(videos if prompt else folder / CAPTIONS),
            fix="See docs/training-data.md for the layouts of data sets; --prompt is one caption for all clips.",
        )
    for make in chain(captions, _sentences(folder, cameras)):
        try:
            jobs.append(make())
        except InputError as error:
            problems += error.problems
    tell(problems)
    return jobs


def _captions(folder: Path, cameras: list[str], prompt: str | None) -> Iterable[Callable[[], Job]]:
    if prompt is None:
        for part in ("", *_folders_in(folder / CAPTIONS)):
            for path in stems(folder / CAPTIONS / part, (".txt",)).values():
                yield partial(_of_caption, folder, path, part)
        return
    for part in cameras or [""]:
        for stem in stems(folder / VIDEOS / part):
            yield partial(_of_prompt, folder, folder / CAPTIONS / part / f"{stem}.txt", part, prompt)


def _folders_in(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}.", where=str(folder), fix="Check its permissions."
        ) from error


def _target(folder: Path, caption: Path, part: str) -> Path:
    """Of a clip's embedding, as the originals name it; one that is there keeps its name."""
    place = folder / TEXTS / part
    return next(
        (path for suffix in SUFFIXES if is_file(path := place / f"{caption.stem}{suffix}")),
        place / f"{caption.stem}{'.pkl' if part else '.pickle'}",
    )


def _of_caption(folder: Path, path: Path, part: str) -> Job:
    return Job(_target(folder, path, part), _caption_in(path), path)


def _caption_in(path: Path) -> str:
    text = read_text(path, limit=_CAPTION_BYTES).strip()
    if not text:
        raise InputError("is empty.", where=str(path), fix="Write what the clip shows.")
    check_prompt_length(text, where=str(path))
    return text


def _of_prompt(folder: Path, caption: Path, part: str, prompt: str) -> Job:
    if is_file(caption) and read_text(caption, limit=_CAPTION_BYTES).strip() != prompt.strip():
        raise InputError(
            "says something else than --prompt.", where=str(caption), fix="Leave --prompt out, or remove the file."
        )
    return Job(_target(folder, caption, part), prompt.strip(), caption)


def _sentences(folder: Path, cameras: list[str]) -> Iterable[Callable[[], Job]]:
    for camera in cameras:
        yield partial(_of_camera, folder, camera)


def _of_camera(folder: Path, camera: str) -> Job:
    own, target = folder / PREFIXES / f"prefix_{camera}.txt", prefix_of(folder, camera)
    if is_file(own):
        return Job(target, _caption_in(own), own)
    sentence = SENTENCES.get(_direction(camera))
    if sentence is None:
        raise InputError(
            f"is needed: where the camera {camera} looks is not known from its name.",
            where=str(own),
            fix=f"Write one sentence, such as: {SENTENCES['front']}",
        )
    return Job(target, sentence)


def _direction(camera: str) -> str:
    """Where a camera looks, by the words of its folder's name, such as pinhole_side_left."""
    words = set(camera.lower().split("_"))
    side = next((word for word in ("left", "right") if word in words), "")
    if words & {"rear", "back"} or (side and "side" in words):
        return f"rear {side}".strip()
    return side or ("front" if "front" in words else "")


def prepare(folder: Path, encode: Encode, prompt: str | None = None, *, overwrite: bool = False) -> Prepared:
    """Make every embedding of a data set that is missing, or older than its caption. Each text is encoded once.

    Every file appears whole or not at all, so whatever ends this, it goes on where it was.

    Raises:
        InputError: see `find_jobs`.
        CheckpointError: the text encoder is missing or damaged.
    """
    jobs = find_jobs(folder, prompt)
    # one caption for all stands beside the clips from now on, as where each has its own
    for job in jobs:
        if job.source is not None and not is_file(job.source):
            with replacing(job.source) as temporary:
                temporary.write_text(job.text + "\n")
    wanted = [job for job in jobs if overwrite or not _is_done(job)]
    by_text: dict[str, list[Job]] = {}
    for job in wanted:
        by_text.setdefault(job.text, []).append(job)
    num_cut = 0
    with output.progress("Encoding", len(by_text), "texts") as advance:
        for text, targets in by_text.items():
            context_1LD, num_tokens = encode(text)
            num_cut += num_tokens > _MAX_TOKENS
            for job in targets:
                write_embedding(job.target, context_1LD[0, : min(num_tokens, _MAX_TOKENS)])
            advance()
    if num_cut:
        output.notice(f"{num_cut} texts have more than {_MAX_TOKENS} tokens; the networks read so many")
    return Prepared(folder, len(wanted), len(jobs) - len(wanted), len(by_text))


def _is_done(job: Job) -> bool:
    if not is_file(job.target):
        return False
    return job.source is None or job.target.stat().st_mtime_ns >= job.source.stat().st_mtime_ns
