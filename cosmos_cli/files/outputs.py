"""Whether outputs can be written, and whose they are while they are made: no two processes make the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cosmos_cli import interrupts, output
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.failures import FULL, disk_full, error_number, writing
from cosmos_cli.files.locks import Lock, try_lock
from cosmos_cli.files.makers import new_name
from cosmos_cli.files.missing import lies_there, looks_like_an_address
from cosmos_cli.files.names import PREFIX, check_name, same_file
from cosmos_cli.files.stores import StorePath
from cosmos_cli.files.transactions import finish_interrupted, transaction
from cosmos_cli.files.writing import remove_remains


def check_writable(path: Path, *, field: str, overwrite: bool) -> None:
    """Make sure that `path` can be written, without leaving anything behind.

    Raises:
        InputError: no file can have this name, see `check_name`; it exists already and `overwrite` is false, it is a
            folder, or its folder cannot be written.
    """
    check_name(path, field=field)
    if looks_like_an_address(path) and not isinstance(path, StorePath):
        given = str(path).replace(":/", "://", 1)
        raise InputError(f"{given} is an address, and nothing can be written there.", where=field, fix="Give a path.")
    clear_up(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder.", where=field, fix="Give the name of a file.")
    if lies_there(path) and not overwrite:
        raise InputError(f"{path} exists already.", where=field, fix="Choose another name, or pass --overwrite.")
    if isinstance(path, StorePath):
        _check_store(path.parent, field)
        return
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error_number(error) in FULL:
            raise disk_full(path) from error
        raise InputError(
            f"{folder} cannot be written: {error.strerror}.", where=field, fix="Choose a folder that you can write."
        ) from error


_proven: set[str] = set()
"""Folders of stores that this process has written to."""


def _check_store(folder: StorePath, field: str) -> None:
    """Raises InputError: nothing can be written there. Below a folder that can be written, any can."""
    if any(f"{folder}/".startswith(f"{proven}/") for proven in _proven):
        return
    probe = folder / new_name(f"{PREFIX}probe-", "")
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except (CosmosError, OSError) as error:
        if isinstance(error, InputError):
            raise
        why = error.problems[0].what if isinstance(error, CosmosError) else "there is no such bucket."
        fix = (error.problems[0].fix if isinstance(error, CosmosError) else None) or "Check the address."
        raise InputError(f"{folder} cannot be written: {why}", where=field, fix=fix) from error
    _proven.add(str(folder))


def clear_up(path: Path) -> None:
    """Finish or remove what a process that died while it made `path` has left of it."""
    if isinstance(path, StorePath):
        return  # whose it is, no lock tells; who has the batch clears up
    finish_interrupted(path)
    place = _place(path)
    if not os.path.lexists(place):
        return
    with contextlib.suppress(OSError):
        lock = try_lock(place)
        if lock is None:
            return
        try:
            # only a lock tells that nobody is at it
            if lock.is_real:
                remove_remains(path, is_ours=True)
                place.unlink()
        finally:
            lock.release()


@dataclass(frozen=True)
class _Held:
    """A claim file that is locked, and which file that is."""

    lock: Lock
    inode: int
    device: int

    def is_at(self, place: Path) -> bool:
        """Whether it is still the file under this name."""
        try:
            there = place.lstat()
        except OSError:
            return False
        return (there.st_ino, there.st_dev) == (self.inode, self.device)


@dataclass
class Claim:
    """Outputs that are this process's until `release`."""

    held: dict[Path, _Held] = field(default_factory=dict)
    """Claim file to its lock."""
    new_folders: list[Path] = field(default_factory=list)
    """Folders that it made, outermost first."""

    def check(self) -> None:
        """Make sure that the folders are still the ones that were claimed.

        Raises:
            CosmosError: one was moved or removed, or somebody took the claim away.
        """
        for path, held in self.held.items():
            if not held.is_at(path):
                raise CosmosError(
                    "was moved or removed while cosmos worked for it.",
                    where=str(path.parent),
                    fix="Run the same command again where the folder is now.",
                )

    def release(self) -> None:
        """Let others have them."""
        for path, held in self.held.items():
            with contextlib.suppress(OSError):
                if held.is_at(path):
                    path.unlink()
            held.lock.release()
        self.held.clear()
        for folder in reversed(self.new_folders):
            with contextlib.suppress(OSError):
                folder.rmdir()  # nothing came to lie in it
        self.new_folders.clear()

    def take(self, path: Path) -> None:
        """Raises as `claim`."""
        if isinstance(path, StorePath):
            return  # a store knows no locks
        with writing(path):
            self._make_folder(path.parent)
            place = _place(path)
            if (held := _take(place)) is None:
                raise _is_taken(path, place)
        self.held[place] = held

    def _make_folder(self, folder: Path) -> None:
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        for parent in reversed(missing):
            with contextlib.suppress(FileExistsError):
                parent.mkdir()
                self.new_folders.append(parent)


def claim(paths: Iterable[Path]) -> Claim:
    """Take files that are to be written, with their folders; they need not exist.

    Raises:
        InputError: another process is making one of them.
        DiskFull, CosmosError: as `cosmos_cli.files.writing.replacing`.
    """
    taken = Claim()
    try:
        # in one order for all, so that of two processes one gets everything
        for path in sorted({same_file(path) for path in paths}):
            taken.take(path)
    except BaseException:
        taken.release()
        raise
    return taken


@contextlib.contextmanager
def making(paths: Iterable[Path], *, overwrite: bool) -> Iterator[None]:
    """A block in which these files are this process's, and at whose end they appear together.

    Args:
        overwrite: replace what is there.
    Raises:
        InputError: another process is making one of them, or has made it since it was checked.
        DiskFull, CosmosError: as `cosmos_cli.files.writing.replacing`; their folder has gone.
    """
    paths = list(paths)
    taken = claim(paths)

    def check() -> None:
        taken.check()
        if not overwrite:
            check_absent(paths)

    try:
        check()
        # once more at the end: somebody may have put a file there meanwhile
        with interrupts.at_leave(taken.release), transaction(paths, check=check):
            yield
    finally:
        taken.release()


def check_absent(paths: Iterable[Path]) -> None:
    """Raises InputError: one of the files is there."""
    for path in paths:
        finish_interrupted(path)
        if lies_there(path):
            raise InputError(f"{path} exists already.", fix="Choose another name, or pass --overwrite.")


def _place(path: Path) -> Path:
    return path.with_name(f"{PREFIX}{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.claim")


def _take(place: Path) -> _Held | None:
    """The claim, in which stands whose it is; None if another process has it."""
    lock = try_lock(place)
    if lock is None:
        return None
    try:
        if not lock.is_real:
            output.notice(f"{place.parent} knows no locks: take care that no other cosmos writes the same there")
        descriptor = os.open(place, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()} {os.uname().nodename}\n".encode())
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        lock.release()
        raise
    return _Held(lock, status.st_ino, status.st_dev)


def _is_taken(path: Path, place: Path) -> InputError:
    who = "another process"
    with contextlib.suppress(OSError, ValueError):
        # anybody may have put a pipe or a link there, which must not keep us waiting or lead elsewhere
        descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            pid, host = os.read(descriptor, 300).decode(errors="replace").split()
        finally:
            os.close(descriptor)
        who = f"process {int(pid)} on {host}"
    return InputError(f"{who} is making it.", where=str(path), fix="Choose another name, or wait for it.")
