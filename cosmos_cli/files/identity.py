"""What files are, whatever they are called and wherever they lie."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cosmos_cli.files.stores import StorePath, here


class Identity(NamedTuple):
    """A file's content. num_bytes: its size. sha256: in hexadecimal digits."""

    num_bytes: int
    sha256: str


def identity_of(path: Path) -> Identity:
    """Raises OSError: there is no such file."""
    return Identity(path.stat().st_size, digest(path))


def is_still(path: Path, known: Iterable[object]) -> bool:
    """Whether a file is there and has this size and digest; read only if its size is right.

    In a store the size tells alone: to read a batch's videos back would take longer than to look at them.
    """
    num_bytes, sha256 = known
    try:
        if isinstance(path, StorePath):
            return path.is_file() and path.stat().st_size == num_bytes
        return path.is_file() and path.stat().st_size == num_bytes and digest(path) == sha256
    except OSError:
        return False


def digest(path: Path) -> str:
    """SHA-256 of a file's content, computed once as long as its size and time stay."""
    path = here(path)
    status = path.stat()
    return _digest(path.absolute(), status.st_size, status.st_mtime_ns, status.st_ino)


@functools.lru_cache(maxsize=256)
def _digest(path: Path, *_status: int) -> str:
    content = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            content.update(part)
    return content.hexdigest()


_SAMPLE_BYTES = 1 << 20


def fingerprint(path: Path) -> str:
    """What tells weights from others without reading gigabytes: names, sizes, and both ends of every file.

    Where a folder or a file lies, and when it was written, does not count. "" for one that is not there.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        parts = [f"{file.relative_to(path).as_posix()} {_ends(file)}" for file in files]
        return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()
    return _ends(path) if path.is_file() else ""


def _ends(path: Path) -> str:
    status = path.stat()
    return _digest_of_ends(path.absolute(), status.st_size, status.st_mtime_ns, status.st_ino)


@functools.lru_cache(maxsize=1024)
def _digest_of_ends(path: Path, num_bytes: int, *_status: int) -> str:
    with path.open("rb") as file:
        content = hashlib.sha256(f"{num_bytes} ".encode() + file.read(_SAMPLE_BYTES))
        file.seek(max(0, num_bytes - _SAMPLE_BYTES))
        content.update(file.read(_SAMPLE_BYTES))
    return content.hexdigest()
