"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosmos_cli.errors import InputError

_UMASK = os.umask(0o022)
os.umask(_UMASK)
_HOST = socket.gethostname().replace("/", "_")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; it becomes `path` when the block ends well and vanishes otherwise.

    The temporary name keeps the suffix, since writers choose the format by it. Folders are created. What a process that
    was killed left half-written under such a name is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_remains(path)
    temporary = path.with_name(f".{path.stem}.{_HOST}-{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)  # some writers keep their files from everybody else
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_remains(path: Path) -> None:
    """Remove what processes that no longer run left of an attempt to write `path`."""
    # a process of another machine that shares the folder cannot be asked whether it runs
    start, end = f".{path.stem}.{_HOST}-", f".part{path.suffix}"
    for found in path.parent.glob(f"{glob.escape(start)}*{glob.escape(end)}"):
        pid = found.name[len(start) : -len(end)]
        if pid.isdigit() and not _runs(int(pid)):
            found.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def check_writable(path: Path, *, field: str, overwrite: bool) -> None:
    """Make sure that `path` can be written, without leaving anything behind.

    Raises:
        InputError: it exists already and `overwrite` is false, it is a folder, or its folder cannot be written.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder.", where=field, fix="Give the name of a file.")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already.", where=field, fix="Choose another name, or pass --overwrite.")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written: {error.strerror}.", where=field, fix="Choose a folder that you can write."
        ) from error
