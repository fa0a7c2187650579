"""What names of files to write may be: they come from files of others too, and are judged before anything is made."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from cosmos_cli.errors import InputError
from cosmos_cli.files.stores import StorePath, is_address

PREFIX = ".cosmos-"
"""What files in the making, claims and journals begin with."""

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_PATH_BYTES = 4096 - 64  # beside it there must be room for the name that a file has in the making
_KEY_BYTES = 1024 - 64
"""Of an object in a store; the same."""


def _without_folders(value: str) -> str:
    if "/" in value or "\\" in value or not value.strip(". "):
        raise ValueError(f"must be a name without folders, but is {value!r}.")
    return value


PlainName = Annotated[str, AfterValidator(_without_folders)]
"""A field that names a file within a folder given elsewhere; the path that it comes to is for `check_name` to judge."""


def check_name(path: Path, *, field: str) -> None:
    """Make sure that a file can be written under this final name, whatever becomes of it on the way.

    Raises:
        InputError: it holds control characters or what no file system can store, it is too long, or begins with a dot.
    """
    if _UNSEEN.search(str(path)):
        raise InputError(
            f"{str(path)!r} has characters that nobody can see.", where=field, fix="Use letters, digits, - and _."
        )
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise InputError(
            f"{str(path)!r} has characters that no file name can have.",
            where=field,
            fix="Use letters, digits, - and _.",
        ) from None
    if isinstance(path, StorePath) and len(path.parts) <= 2:
        raise InputError(f"{path} names no file in a bucket.", where=field, fix="Give s3://bucket/name or the like.")
    if not path.name.strip() or path.name.startswith("."):
        raise InputError(
            f"{path.name!r} is no name for a file: a dot at the beginning hides it.",
            where=field,
            fix="Give a name such as street.mp4.",
        )
    _check_length(path, field)


def _check_length(path: Path, field: str) -> None:
    in_store = [(str(path), len(os.fsencode(path)), _KEY_BYTES)]
    limits = in_store if isinstance(path, StorePath) else _limits_here(path)
    for name, num_bytes, most in limits:
        if num_bytes > most:
            shown = name if len(name) <= 60 else f"{name[:40]}...{name[-17:]}"
            raise InputError(
                f"{shown} is {num_bytes:,} bytes long, and {most:,} are possible.", where=field, fix="Shorten it."
            )


def _limits_here(path: Path) -> list[tuple[str, int, int]]:
    longest = max(path.parts, key=lambda part: len(os.fsencode(part)), default="")
    limit = _longest_name(_first_that_exists(path.parent))
    return [
        (longest, len(os.fsencode(longest)), limit),
        (str(path), len(os.fsencode(path.absolute())), _PATH_BYTES),
    ]


def _first_that_exists(folder: Path) -> Path:
    """The folder, or the nearest above it that there is."""
    folder = folder.absolute()
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


@functools.lru_cache(maxsize=64)
def _longest_name(folder: Path) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):
        return 255


def within(folder: Path, name: str, *, field: str, suffix: str = "") -> Path:
    """The path of `name` with `suffix` in `folder`, which it must not leave: names may come from files of others.

    Raises:
        InputError: the name cannot be one, see `check_name`; it is absolute, climbs out of the folder, or leads out of
            it through a link.
    """
    path = folder / f"{name}{suffix}"
    given = Path(name)
    try:
        elsewhere = given.is_absolute() or (is_address(given) and not isinstance(folder, StorePath))
        leads_out = elsewhere or ".." in given.parts or not _is_inside(path, folder)
    except ValueError:  # an embedded null byte
        leads_out = False
    if leads_out:
        raise InputError(
            f"{name!r} leads out of the output folder.", where=field, fix="Give a name relative to that folder."
        )
    check_name(path, field=field)
    return path


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether the folder of `path` lies in `folder` once links are followed; a link as the last part is replaced."""
    if isinstance(path, StorePath):
        return path.is_relative_to(folder)
    real = os.path.realpath(path.parent)
    return Path(real).is_relative_to(os.path.realpath(folder)) and not os.path.islink(real)  # noqa: PTH114  # a circle


def same_file(path: Path) -> Path:
    """What two paths have in common that name one file to write: links among its folders are followed."""
    if isinstance(path, StorePath):
        return path
    return Path(os.path.realpath(path.parent)) / path.name
