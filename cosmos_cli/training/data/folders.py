"""Finding clips and what belongs to them in the folders of a data set."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from cosmos_cli.errors import InputError
from cosmos_cli.media.facts import Length, read_length
from cosmos_cli.training.data.embeddings import SUFFIXES
from cosmos_cli.training.recipe import Data

CLIP_SUFFIX = ".mp4"
VIDEOS, TEXTS, CAPTIONS, PREFIXES = "videos", "t5_xxl", "metas", "cache"
"""Folders of a data set."""


def root_of(data: Data) -> Path:
    """The folder of the data set. Raises InputError: none is named, or it is not there."""
    if not data.dataset_dir:
        raise InputError(
            "no folder is named.", where="data.dataset_dir", fix="Pass data.dataset_dir=FOLDER behind the two dashes."
        )
    root = Path(data.dataset_dir).expanduser()
    if not root.is_dir():
        raise InputError(
            "there is no such folder.", where=str(root), fix="Pass data.dataset_dir=FOLDER behind the two dashes."
        )
    return root


def stems(folder: Path, suffixes: Iterable[str] = (CLIP_SUFFIX,)) -> dict[str, Path]:
    """The files of a folder by their names without suffix, sorted; none if the folder is not there."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = (Path(folder, name) for name in names)
    return {path.stem: path for path in found if path.suffix.lower() in suffixes}


def clips(folder: Path) -> dict[str, Path]:
    """The clips of a folder by name. Raises InputError: there are none."""
    found = stems(folder)
    if not found:
        raise InputError(
            f"holds no {CLIP_SUFFIX} files." if folder.is_dir() else "there is no such folder.",
            where=str(folder),
            fix="The layouts of data sets are described in docs/training-data.md.",
        )
    return found


def embeddings(folder: Path) -> dict[str, Path]:
    """The text embeddings of a folder by name."""
    return stems(folder, SUFFIXES)


def length_of(path: Path) -> Length:
    """Of a clip, from its headers, which are read once. Raises InputError: they cannot be read."""
    try:
        facts = path.stat()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}.", where=str(path)) from error
    return _length_of(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=1 << 20)
def _length_of(path: Path, _mtime_ns: int, _size: int) -> Length:
    return read_length(path)


def span(data: Data) -> int:
    """Frames of a clip from the first to the last of a window."""
    return (data.num_frames - 1) * data.sequence_interval + 1
