"""What files are, whatever they are called and wherever they lie."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cosmos_cli.files.store_service import version_of
from cosmos_cli.files.stores import StorePath, facts_of, here


class Identity(NamedTuple):
    """A file's content. num_bytes: its size. sha256: in hexadecimal digits."""

    num_bytes: int
    sha256: str


def identity_of(path: Path) -> Identity:
    """Raises OSError: there is no such file."""
    return Identity(path.stat().st_size, digest(path))


def is_still(path: Path, known: Iterable[object], mark: str = "") -> bool:
    """Whether a file is there and has this size and digest; read only if its size is right and its mark is not.

    Args:
        mark: of the file as it was, see `marks_of`. Without one the size tells alone in a store: to read a batch's
            videos back would take longer than to look at them.
    """
    num_bytes, sha256 = known
    try:
        if not path.is_file() or path.stat().st_size != num_bytes:
            return False
        if mark == _mark(path) or (not mark and isinstance(path, StorePath)):
            return True
        return digest(path) == sha256
    except OSError:
        return False


def marks_of(paths: Sequence[Path]) -> dict[Path, str]:
    """What tells of each file that is there that it was not written anew, without reading it.

    That is what the system says of its last changes, or a store of its content.
    """
    in_stores = facts_of(path for path in paths if isinstance(path, StorePath))
    marks: dict[Path, str] = {path: version_of(facts) for path, facts in in_stores.items()}
    for path in paths:
        if not isinstance(path, StorePath):
            with contextlib.suppress(OSError):
                marks[path] = _mark(path)
    return marks


def _mark(path: Path) -> str:
    if isinstance(path, StorePath):
        return version_of(path.facts() or {})
    status = path.stat()
    # who gives a file its old time back, or another file its name, changes the second
    return f"{status.st_mtime_ns} {status.st_ctime_ns}"


def digest(path: Path) -> str:
    """SHA-256 of a file's content, computed once as long as its size and times stay."""
    found = here(path)
    status = found.stat()
    # a copy of what lies in a store is touched whenever it is used, and never changed
    times = () if isinstance(path, StorePath) else (status.st_mtime_ns, status.st_ctime_ns)
    return _digest(found.absolute(), status.st_size, status.st_ino, *times)


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
