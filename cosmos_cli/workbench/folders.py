"""The folders that the page may see, and nothing beside them."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cosmos_cli.errors import InputError
from cosmos_cli.files.paths import given_path

CLIPS = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"})
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp"})
"""Those that browsers show."""
_MOST_CLIPS = 500
_MOST_LOOKED_AT = 20_000
"""Files, so that a home folder as the working folder keeps nobody waiting."""


class OutsideError(Exception):
    """A path leads out of the folders."""


class Folders:
    """Folders that were named at the start.

    Args:
        folders: that exist.
    Raises:
        InputError: one is missing, or no folder: all of them at once.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        problems = []
        for folder in folders:
            if not folder.is_dir():
                what = "is no folder." if os.path.lexists(folder) else "does not exist."
                problems.append(InputError(f"{folder} {what}", where="--folder", fix="Give a folder with clips."))
        if problems:
            raise InputError.from_problems([problem for error in problems for problem in error.problems])
        self.roots = tuple(dict.fromkeys(Path(os.path.realpath(folder)) for folder in folders))

    def inside(self, text: str | Path) -> Path:
        """The path, with all links followed. Raises OutsideError: it lies elsewhere, or is none."""
        try:
            path = Path(os.path.realpath(given_path(text)))
        except (ValueError, OSError) as error:
            raise OutsideError(str(text)) from error
        if not any(path.is_relative_to(root) for root in self.roots):
            raise OutsideError(str(text))
        return path

    def check(self, value: object) -> None:
        """Raises OutsideError: a path anywhere in a request leads out of the folders."""
        for path in _paths(value):
            self.inside(path)

    def clips(self) -> list[tuple[Path, Path]]:
        """Videos and pictures of all folders, each with its folder; links that leave the folders are passed over.

        So many of each, videos before pictures, and of either the newest first.
        """
        found: dict[Path, Path] = {}
        for root in self.roots:
            for path in _files(root):
                if path.suffix.lower() in CLIPS | PICTURES and _changed_at(path) is not None:
                    with contextlib.suppress(OutsideError):
                        found.setdefault(self.inside(path), root)
        newest = sorted(found, key=lambda path: _changed_at(path) or 0.0, reverse=True)
        chosen = [
            [path for path in newest if path.suffix.lower() in suffixes][:_MOST_CLIPS] for suffixes in (CLIPS, PICTURES)
        ]
        return [(path, found[path]) for paths in chosen for path in paths]


def _changed_at(path: Path) -> float | None:
    """Of a file, in seconds since 1970; None where there is none, or what is no file, such as a pipe."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime if stat.S_ISREG(status.st_mode) else None


def _files(root: Path) -> Iterator[Path]:
    """Files below a folder that are not hidden, so many at most."""
    num_seen = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            num_seen += 1
            if num_seen > _MOST_LOOKED_AT:
                return
            if not name.startswith("."):
                yield Path(folder, name)


def _paths(value: object) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        for _, each in value:
            yield from _paths(each)
    elif isinstance(value, Mapping):
        yield from _paths_of(value.values())
    elif isinstance(value, list | tuple):
        yield from _paths_of(value)


def _paths_of(values: Iterable[Any]) -> Iterator[Path]:
    for each in values:
        yield from _paths(each)
