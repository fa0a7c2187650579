"""What the lines of a ledger say: what became of an item, what a run is asked for, and how finished files are known."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from cosmos_cli.batch.lines import read_lines
from cosmos_cli.files.writing import json_bytes

Status = Literal["waiting", "started", "written", "done", "failed", "blocked"]
"""`waiting`: it was asked for. `written`: its files are whole, and about to get their names."""

_TIME = "%Y-%m-%dT%H:%M:%S%z"


@dataclass(frozen=True)
class Entry:
    """One thing that happened to an item.

    key: what the item is, see `cosmos_cli.batch.plan.Item`.
    error: why it was not made.
    files: what it wrote: path from the ledger's folder to size in bytes and SHA-256.
    seconds: how long it took.
    result: what its command reports of it.
    asked: its request; told once, when it is first heard of.
    """

    key: str
    name: str
    status: Status
    error: str = ""
    seconds: float = 0.0
    result: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    time: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Roll:
    """What a run is asked for.

    keys: of the items, in the order of the batch. wrong: names of rows and items that cannot be made, and why.
    """

    keys: Sequence[str] = ()
    wrong: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Marks:
    """What tells of finished files that they were not written anew, see `cosmos_cli.files.identity.marks_of`.

    of: name of a file to its SHA-256 and its mark. A line of its own: earlier versions pass it over.
    """

    of: Mapping[str, Sequence[str]] = field(default_factory=dict)


def _marks(line: Any) -> Marks | None:
    """A line of marks; None if it is another."""
    marks = line.get("marks") if isinstance(line, dict) else None
    if not isinstance(marks, dict):
        return None
    is_sound = all(
        isinstance(each, list) and len(each) == 2 and all(isinstance(text, str) for text in each)
        for each in marks.values()
    )
    return Marks(marks) if is_sound else None


def _roll(line: Any) -> Roll | None:
    """A line that begins a run; None if it is another."""
    if not isinstance(line, dict) or not isinstance(keys := line.get("roll"), list):
        return None
    wrong = line.get("wrong")
    texts = [*keys, *(wrong.values() if isinstance(wrong, dict) else [None])]
    return Roll(tuple(keys), wrong or {}) if all(isinstance(text, str) for text in texts) else None


def _entry(line: Any) -> Entry | None:
    """A line as it is meant; None if it is none of ours."""
    try:
        entry = Entry(**line)
    except TypeError:
        return None
    texts = (entry.key, entry.name, entry.error, entry.time)
    is_sound = (
        all(isinstance(text, str) for text in texts)
        and entry.status in get_args(Status)
        and isinstance(entry.seconds, int | float)
        and isinstance(entry.result, dict)
        and isinstance(entry.files, dict)
        and isinstance(entry.asked, dict)
        and all(isinstance(known, list) and len(known) == 2 for known in entry.files.values())
    )
    return entry if is_sound else None


def read_told(path: Path) -> Iterator[Entry | Roll | Marks]:
    """The lines of a ledger that are ours."""
    for line in read_lines(path):
        if (told := _entry(line) or _roll(line) or _marks(line)) is not None:
            yield told


def when_told(entry: Entry) -> float:
    """When it was told; one that does not say it comes first."""
    try:
        return datetime.strptime(entry.time, _TIME).timestamp()
    except ValueError:
        return 0.0


def line_of(entry: Entry) -> bytes:
    """An entry as a line, told now."""
    stamped = asdict(entry) | {"time": time.strftime(_TIME)}
    if not entry.asked:
        del stamped["asked"]  # earlier versions read such lines too
    # an output may be called as somebody's password is, and has its name for all to see
    return json_bytes(stamped, as_they_are={name: stamped.pop(name) for name in ("key", "files")}) + b"\n"


def as_asked(request: Any) -> dict[str, Any]:
    """A request as a sidecar keeps it; nothing of one that is no model of ours."""
    from cosmos_cli.requests import StrictModel, request_document

    return request_document(request) if isinstance(request, StrictModel) else {}


def roll_line(roll: Roll) -> bytes:
    """The line that begins a run."""
    return json_bytes({"wrong": roll.wrong}, as_they_are={"roll": roll.keys}) + b"\n"


def marks_line(marks: Mapping[str, Sequence[str]]) -> bytes:
    """Marks as a line; none, if there are none."""
    return json_bytes({}, as_they_are={"marks": marks}) + b"\n" if marks else b""
