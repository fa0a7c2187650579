"""What became of every item of a batch, on disk, so that a batch that was stopped goes on where it was.

One JSON object per line, appended and flushed before and after each item. A line that was cut short by a power failure
is passed over; the last line about an item counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from cosmos_cli.errors import InputError

Status = Literal["started", "done", "failed", "blocked"]


@dataclass(frozen=True)
class Entry:
    """One thing that happened to an item.

    key: what the item is, see `cosmos_cli.batch.plan.Item`.
    error: why it was not made.
    seconds: how long it took.
    result: what its command reports of it.
    """

    key: str
    name: str
    status: Status
    error: str = ""
    seconds: float = 0.0
    result: Mapping[str, Any] = field(default_factory=dict)
    time: str = ""


class Ledger:
    """An open ledger; `open_ledger` makes one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._lock = file, threading.Lock()
        self._entries: dict[str, Entry] = {}
        file.seek(0)
        content = file.read()
        for line in content.splitlines():
            with contextlib.suppress(ValueError, TypeError):
                entry = Entry(**json.loads(line))
                self._entries[entry.key] = entry
        self._is_torn = bool(content) and not content.endswith(b"\n")

    def __getitem__(self, key: str) -> Entry | None:
        """The last that is known of an item."""
        return self._entries.get(key)

    def write(self, entry: Entry) -> None:
        """Add a line and see it onto the disk."""
        stamped = asdict(entry) | {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        line = json.dumps(stamped, ensure_ascii=False, default=str).encode() + b"\n"
        with self._lock:
            self._file.write(b"\n" + line if self._is_torn else line)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._is_torn = False
            self._entries[entry.key] = entry


@contextlib.contextmanager
def open_ledger(path: Path, *, is_ours: bool = True) -> Iterator[Ledger]:
    """The ledger at `path`, for this process alone; it is created with its folder if need be.

    Args:
        is_ours: False for a process that works along with the one that the ledger is for; lines are appended whole.
    Raises:
        InputError: another process works on the same batch, or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror}.", where=str(path), fix="Choose a folder that you can write."
        ) from error
    with file:
        try:
            if is_ours:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                "is in use: another process works on this batch.", where=str(path), fix="Wait for it, or stop it."
            ) from error
        yield Ledger(file)
