"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosmos_cli import interrupts
from cosmos_cli.errors import CosmosError
from cosmos_cli.files.failures import writing
from cosmos_cli.files.identity import Identity, identity_of
from cosmos_cli.files.makers import has_lost_its_maker, new_name
from cosmos_cli.files.names import PREFIX
from cosmos_cli.files.stores import StorePath, outgoing
from cosmos_cli.redaction import hide_in

_UMASK = os.umask(0o022)
os.umask(_UMASK)


@dataclass
class Transaction:
    """Changes that are made together: `moves` from one name to another in a folder, then `removals`.

    outputs: files that get their names with it when they are written meanwhile.
    waits_here: whether those for stores wait on this machine, from where they are put under their names; else in the
        store, for whichever process gives them these.
    known: what files in stores are, by the names that they have until then.
    named: files that have got their names.
    """

    outputs: frozenset[Path] = frozenset()
    waits_here: bool = False
    moves: list[tuple[Path, Path]] = field(default_factory=list)
    removals: list[Path] = field(default_factory=list)
    known: dict[Path, Identity] = field(default_factory=dict)
    named: list[Path] = field(default_factory=list)

    def move(self, source: Path, target: Path) -> None:
        """Give a file another name at the end; what was written for that name before goes."""
        for place, (earlier, name) in enumerate(self.moves):
            if name == target and earlier.name.startswith(PREFIX):
                earlier.unlink(missing_ok=True)
                self.moves[place] = (source, target)
                return
        self.moves.append((source, target))

    def remove(self, path: Path) -> None:
        """Remove a file at the end, if it is there."""
        self.removals.append(path)

    def discard(self) -> None:
        """Remove what was written for it."""
        for source, _ in self.moves:
            if source.name.startswith(PREFIX):
                with contextlib.suppress(CosmosError, OSError):  # why it is given up says more; the next run clears up
                    source.unlink(missing_ok=True)

    def apply(self) -> None:
        """Make the changes that are not made yet; several processes may do so at a time.

        What was written first gets its name last: no video stands without what goes with it.
        """
        for source, target in reversed(self.moves):
            if isinstance(target, StorePath) and not isinstance(source, StorePath):
                target.put(source)
                source.unlink(missing_ok=True)
            else:
                with contextlib.suppress(FileNotFoundError):
                    source.replace(target)
            self.named.append(target)
        for path in self.removals:
            path.unlink(missing_ok=True)

    def is_about(self, path: Path) -> bool:
        """Whether a file that is written now is one of its outputs."""
        return path.absolute() in self.outputs

    def by_folder(self) -> list[Transaction]:
        """The changes of each folder; a journal lies among the files that it tells of."""
        parts: dict[Path, Transaction] = {}
        for source, target in self.moves:
            parts.setdefault(target.parent, Transaction()).moves.append((source, target))
        for path in self.removals:
            parts.setdefault(path.parent, Transaction()).removals.append(path)
        return list(parts.values())


together_with: ContextVar[Transaction | None] = ContextVar("transaction", default=None)
"""What files are written for at the moment; threads begin with None."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; it becomes `path` when the block ends well and vanishes otherwise.

    Inside a `transaction` about it, it becomes `path` at the end of that. The temporary name keeps the suffix, since
    writers choose the format by it. Folders are created. What a process that was killed left half-written under such a
    name is removed. What goes into a store lies here until it is whole.

    Raises:
        DiskFull: there is no room.
        CosmosError: the system, or the store, does not let it be written.
    """
    with writing(path):
        if not isinstance(path, StorePath):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_remains(path)
        temporary = _create(path)
    try:
        with interrupts.at_leave(lambda: temporary.unlink(missing_ok=True)), writing(path, temporary):
            yield temporary
            _finish(temporary)
            together = together_with.get()
            is_together = together is not None and together.is_about(path)
            if isinstance(path, StorePath):
                _put(temporary, path, together if is_together else None)
            elif is_together:
                assert together is not None
                together.move(temporary, path)
            else:
                temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _create(path: Path) -> Path:
    """An empty file of this process alone."""
    name = new_name(stand_in_start(path), path.suffix)
    temporary = outgoing(name) if isinstance(path, StorePath) else path.with_name(name)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


def _put(temporary: Path, path: StorePath, together: Transaction | None) -> None:
    """Bring a whole file into a store: under its name, or beside it until the others are there, too."""
    if together is None:
        path.put(temporary)
    elif together.waits_here:
        together.move(temporary, path)
        return
    else:
        stand_in = path.with_name(temporary.name)
        stand_in.put(temporary)
        together.known[stand_in] = identity_of(temporary)
        together.move(stand_in, path)
    temporary.unlink()


def _finish(temporary: Path) -> None:
    """See it onto the disk, for everybody to read."""
    temporary.chmod(0o666 & ~_UMASK)  # some writers keep their files from everybody else
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stand_in_start(path: Path) -> str:
    """What the names of files begin with that stand for `path` meanwhile; short, since its name may be long."""
    return f"{PREFIX}{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}-"


def remove_remains(path: Path, *, is_ours: bool = False) -> None:
    """Remove what processes that no longer run left of an attempt to write `path`.

    Args:
        is_ours: this process has the claim on it, so that nobody writes it now: the numbers of processes need not be
            asked, which containers and restarts give to others.
    """
    start, end = stand_in_start(path), f".part{path.suffix}"
    for found in path.parent.glob(f"{glob.escape(start)}*{glob.escape(end)}"):
        if is_ours or has_lost_its_maker(found.name):
            with contextlib.suppress(OSError):  # somebody else's, to be cleared away by them
                found.unlink(missing_ok=True)


def remove_stored_remains(paths: Iterable[Path]) -> None:
    """As `remove_remains`, of files in stores that are this process's to write, whatever else it does about others."""
    starts: dict[StorePath, set[str]] = {}
    for path in paths:
        if isinstance(path, StorePath):
            starts.setdefault(path.parent, set()).add(stand_in_start(path))
    for folder, ours in starts.items():
        for found in folder.glob(f"{PREFIX}*.part*"):
            if found.name[: len(PREFIX) + 17] in ours:
                found.unlink(missing_ok=True)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(json_bytes(document, indent=2) + b"\n")


def json_bytes(document: Any, *, indent: int | None = None, as_they_are: Mapping[str, Any] | None = None) -> bytes:
    """A JSON document in UTF-8, without secrets.

    Bytes of file names that are none become `\\udcXX`, as `read_json` takes them back.

    Args:
        as_they_are: further fields, of digests and names of files that lie beside it, by which it is read again.
    """
    hidden = hide_in(document)
    if as_they_are:
        assert isinstance(hidden, dict)
        hidden = {**as_they_are, **hidden}
    text = json.dumps(hidden, indent=indent, ensure_ascii=False, default=str)
    return text.encode(errors="backslashreplace")
