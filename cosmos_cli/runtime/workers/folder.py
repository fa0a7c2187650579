"""The folder in which workers tell their launcher how they are, and what launchers that were killed left of theirs."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cosmos_cli import interrupts
from cosmos_cli.files.locks import try_lock

PREFIX = "cosmos-workers-"
_LOCK = ".lock"


@contextlib.contextmanager
def launcher_folder() -> Iterator[Path]:
    """A new folder among the temporary ones, which goes with the block; those of dead launchers go first.

    A launcher holds a lock on its folder for as long as it lives: the system takes it back however it ends.
    """
    place = Path(tempfile.gettempdir())
    _remove_abandoned(place)
    # it gets the name by which others find it once it is locked
    new = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=place))
    lock = try_lock(new / _LOCK)  # on a file system without locks, nobody removes the folders of others
    try:
        folder = new.rename(place / new.name.removeprefix("."))
        with interrupts.at_leave(lambda: shutil.rmtree(folder, ignore_errors=True)):
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)  # a worker may still be telling something
    finally:
        if lock is not None:
            lock.release()


def _remove_abandoned(place: Path) -> None:
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX):
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(Path(entry.path))


def _remove_if_abandoned(folder: Path) -> None:
    """Remove it if it is a folder of this user, no link, and its launcher is dead. Raises OSError: it is none such."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        return
    lock = try_lock(folder / _LOCK)
    if lock is not None:
        try:
            if lock.is_real:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            lock.release()
