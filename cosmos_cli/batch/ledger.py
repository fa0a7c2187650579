"""What became of every item of a batch, on disk, so that a batch that was stopped goes on where it was.

One JSON object per line, appended and flushed before and after each item. A line that was cut short by a power failure
is passed over; the last line about an item counts. Each run begins with a line that tells what it is asked for.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from cosmos_cli.batch.entries import (
    Entry,
    Marks,
    Roll,
    as_asked,
    line_of,
    marks_line,
    read_told,
    roll_line,
    when_told,
)
from cosmos_cli.batch.lease import Lease, is_leased
from cosmos_cli.batch.lines import Lines, check_ledger, open_lines
from cosmos_cli.errors import InputError
from cosmos_cli.files.failures import writing
from cosmos_cli.files.identity import is_still, marks_of
from cosmos_cli.files.locks import try_lock
from cosmos_cli.files.names import same_file
from cosmos_cli.files.stores import StorePath
from cosmos_cli.runtime.workers.share import Share

if TYPE_CHECKING:
    from cosmos_cli.batch.plan import Item

ENDING = ".ledger.jsonl"
"""What the names of ledgers end with."""

AnyPath = TypeVar("AnyPath", bound=Path)

_LOOKING_S = 0.1
"""Longer than `is_in_use` takes."""


class Ledger:
    """An open ledger; `open_ledger` makes one, and `read_ledger` one that is only read.

    others: ledgers in the same folder whose items it knows, too. lease: that its batch is this process's, where no
        lock says so.
    """

    def __init__(
        self, lines: Lines | None, path: Path, others: Sequence[Path] = (), lease: Lease | None = None
    ) -> None:
        self._lines, self._path, self._lease, self._lock = lines, path, lease, threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._written: dict[str, dict[str, list[Sequence[Any]]]] = {}
        self._roll = Roll()
        self._marks: dict[str, Sequence[str]] = {}
        self._new_marks: dict[str, Sequence[str]] = {}
        told: list[Entry] = []
        for ledger in (*others, path):
            for each in read_told(ledger):
                if isinstance(each, Entry):
                    told.append(each)
                elif isinstance(each, Marks):
                    self._marks |= each.of
                elif ledger == path:
                    self._roll = each
        if others:
            told.sort(key=when_told)  # what was told last counts, whoever told it
        for entry in told:
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        if not entry.asked and (earlier := self._entries.get(entry.key)) is not None and earlier.asked:
            entry = replace(entry, asked=earlier.asked)
        self._entries[entry.key] = entry
        of_item = self._written.setdefault(entry.key, {})
        for name, identity in entry.files.items():
            if (known := tuple(identity)) not in (all_known := of_item.setdefault(name, [])):
                all_known.append(known)

    @property
    def folder(self) -> Path:
        """Where it lies; so do the files of its items, or below."""
        return self._path.parent

    def __getitem__(self, key: str) -> Entry | None:
        """The last that is known of an item."""
        return self._entries.get(key)

    def entries(self) -> list[Entry]:
        """The last that is known of every item and of every wrong row, in the order of the batch.

        What the last run was not asked for comes first, unless it waits, or the run has another item of its name.
        """
        asked_for = [self._entries[key] for key in self._roll.keys if key in self._entries]
        names, keys = {entry.name for entry in asked_for} | self._roll.wrong.keys(), set(self._roll.keys)
        others = [entry for key, entry in self._entries.items() if key not in keys]
        earlier = [entry for entry in others if entry.name not in names and entry.status != "waiting"]
        wrong = self._roll.wrong
        now = [replace(e, status="failed", error=wrong[e.name]) if e.name in wrong else e for e in asked_for]
        known = {entry.name for entry in now}
        rows = [Entry(name, name, "failed", error) for name, error in wrong.items() if name not in known]
        return [*earlier, *now, *rows]

    def knows(self, item: Item[Any], file: Path) -> bool:
        """Whether a file is there and is still what this item wrote last."""
        known = self[item.key]
        name = self.name_of(file)
        written = None if known is None else known.files.get(name)
        return written is not None and self._is_still(file, name, written)

    def has_written(self, item: Item[Any], file: Path, *, now_at: Path | None = None) -> bool | None:
        """Whether a file is there and is what this item has written at any time: it may have been begun anew since.

        Args:
            now_at: where the file lies now, if not under the name that it was written under.
        Returns:
            None if this item is not known to have written such a file.
        """
        name = self.name_of(file)
        written = self._written.get(item.key, {}).get(name)
        return None if written is None else any(self._is_still(now_at or file, name, each) for each in written)

    def _is_still(self, file: Path, name: str, identity: Sequence[Any]) -> bool:
        """As the function; what it took reading to tell, the next run tells by the mark that the file has now."""
        digest, mark = self._marks.get(name, ("", ""))
        mark = mark if digest == identity[1] else ""
        now = marks_of([file]).get(file, "")
        if not is_still(file, identity, mark):
            return False
        if now and now != mark:
            self._new_marks[name] = (identity[1], now)
        return True

    def name_of(self, file: Path) -> str:
        """How entries call a file: folders may be moved, with the ledger in them."""
        if isinstance(file, StorePath) and not isinstance(self._path, StorePath):
            return str(file)
        return os.path.relpath(same_file(file), same_file(self._path).parent)

    def check(self) -> None:
        """Raises CosmosError: the ledger's folder was moved or removed since it was opened, or another has it now."""
        assert self._lines is not None
        self._lines.check()
        if self._lease is not None:
            self._lease.check()

    def write(self, entry: Entry, marks: Mapping[Path, str] = MappingProxyType({})) -> None:
        """Add a line and see it onto the disk.

        Args:
            marks: of its files that have their names, see `cosmos_cli.files.identity.marks_of`.
        Raises:
            CosmosError: the ledger's folder was moved or removed; DiskFull: there is no room.
        """
        named = {self.name_of(path): mark for path, mark in marks.items()}
        told = {name: (entry.files[name][1], mark) for name, mark in named.items() if name in entry.files}
        self._append(line_of(entry) + marks_line(told), [entry], told)

    def begin(self, items: Sequence[Item[Any]], wrong: Mapping[str, str]) -> None:
        """Tell what a run is asked for; nothing, if that is what the last one was.

        Args:
            items: in the order of the batch; those that nothing is known of wait from now on.
            wrong: names of rows and items that cannot be made, and why.
        Raises:
            CosmosError, DiskFull: as for `write`.
        """
        new = [Entry(i.key, i.name, "waiting", asked=as_asked(i.request)) for i in items if self[i.key] is None]
        roll = Roll(tuple(item.key for item in items), dict(wrong))
        begun = b"" if not new and roll == self._roll else roll_line(roll)
        marks, self._new_marks = self._new_marks, {}
        if begun or marks:
            self._append(b"".join(map(line_of, new)) + begun + marks_line(marks), new, marks)
        self._roll = roll

    def _append(self, lines: bytes, entries: Sequence[Entry], marks: Mapping[str, Sequence[str]]) -> None:
        with self._lock, writing(self._path):
            self.check()
            assert self._lines is not None
            self._lines.append(lines)
            for entry in entries:
                self._take(entry)
            self._marks |= marks


def find_ledgers(folder: Path) -> list[Path]:
    """The ledgers in a folder."""
    return sorted(folder.glob(f"*{ENDING}"))


def state(entry: Entry, *, runs: bool) -> str:
    """How people call what is known of an item. runs: its batch is worked on now."""
    if entry.status == "waiting":
        return "waiting" if runs else "not begun"
    if entry.status in ("started", "written"):
        return "being made" if runs else "stopped"
    return entry.status


@contextlib.contextmanager
def open_ledger(path: Path, *, is_ours: bool = True) -> Iterator[Ledger]:
    """The ledger at `path`, for this process alone; it is created with its folder if need be.

    Args:
        is_ours: False for a process that works along with the one that the ledger is for; lines are appended whole.
    Raises:
        InputError: another process works on the same batch.
        DiskFull, CosmosError: the file cannot be written.
    """
    check_ledger(path)
    with contextlib.ExitStack() as stack:
        with writing(path):
            if not isinstance(path, StorePath):
                path.parent.mkdir(parents=True, exist_ok=True)
            lines = stack.enter_context(contextlib.closing(open_lines(path)))
        lease = stack.enter_context(_alone(path)) if is_ours else None
        yield Ledger(lines, path, _others(path), lease)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[Lease | None]:
    """A block in which nobody else works on the batch of a ledger, by a lock where there are any, else by a lease."""
    place = _lock_of(path)
    if isinstance(place, StorePath):
        with Lease(place).held() as lease:
            yield lease
        return
    with writing(place):
        lock = try_lock(place)
        if lock is None:  # somebody may only have looked whether it is in use
            time.sleep(_LOOKING_S)
            lock = try_lock(place)
    if lock is None:
        raise InputError(
            "is in use: another process works on this batch.", where=str(path), fix="Wait for it, or stop it."
        )
    try:
        if lock.is_real:
            yield None
        else:
            with Lease(_lease_of(path)).held() as lease:
                yield lease
    finally:
        with contextlib.suppress(OSError):
            place.unlink()  # while it is held: who waits for it makes another
        lock.release()


def read_ledger(path: Path, *, with_shares: bool = False) -> Ledger:
    """What a ledger tells; nothing if there is none. Writes nothing. Raises InputError: it is no file.

    Args:
        with_shares: tell what all ledgers of the same batch tell, as an open one does.
    """
    check_ledger(path)
    with writing(path):
        return Ledger(None, path, _others(path) if with_shares else ())


def share_ledger(path: Path, share: Share) -> Path:
    """The ledger of one share of a batch, beside that of the whole."""
    return path.with_name(f"{path.name.removesuffix(ENDING)}.{share.number}-of-{share.of}{ENDING}")


def _others(path: Path) -> list[Path]:
    """The ledgers of the same batch, made in whatever shares."""
    whole = re.sub(r"\.\d+-of-\d+$", "", path.name.removesuffix(ENDING))
    like = re.compile(rf"{re.escape(whole)}(\.\d+-of-\d+)?{re.escape(ENDING)}")
    return [each for each in find_ledgers(path.parent) if each.name != path.name and like.fullmatch(each.name)]


def is_in_use(path: Path) -> bool:
    """Whether a process works on the batch of a ledger now."""
    place = _lock_of(path)
    if isinstance(place, StorePath):
        return is_leased(place)
    if not place.exists():
        return False
    if is_leased(_lease_of(path)):
        return True
    try:
        lock = try_lock(place)
    except OSError:  # somebody else's, who lets nobody touch it: it goes away with its batch
        return True
    if lock is not None:
        lock.release()
    return lock is None


def _lease_of(path: Path) -> Path:
    """Beside the lock of a file system that knows none."""
    return path.with_name(f".{path.name}.lease")


def _lock_of(path: AnyPath) -> AnyPath:
    """Not the ledger itself, in which a lock has no business."""
    return path.with_name(f".{path.name}.lock")
