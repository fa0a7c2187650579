"""From the rows of a batch file to items that are known to be good, before any model loads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from cosmos_cli import output
from cosmos_cli.batch.manifest import Fault, Row, folder_of, read_rows
from cosmos_cli.errors import CosmosError, InputError, Problem
from cosmos_cli.files.ahead import fetch_all
from cosmos_cli.files.names import check_name, same_file
from cosmos_cli.files.stores import StorePath, is_address, looking, stored
from cosmos_cli.runtime.workers.share import Share

Request = TypeVar("Request")

_FILE = re.compile(r"[^\s:][^\n:]{0,250}\.[A-Za-z0-9]{2,5}")
"""A text that may name a file."""


@dataclass(frozen=True)
class Item(Generic[Request]):
    """One request of a batch.

    name: how it is called, unique in the batch.
    place, index: of its row in the batch file.
    files: everything that it writes; those of a finished item are all there.
    key: what makes the item the same work as one in an earlier run, see `cosmos_cli.generation.identity.work_key`.
    """

    name: str
    place: str
    index: int
    request: Request
    files: tuple[Path, ...]
    key: str


@dataclass(frozen=True)
class Plan(Generic[Request]):
    """The good items of a batch file, and the rows that are none."""

    path: Path
    items: tuple[Item[Request], ...]
    faults: tuple[Fault, ...]

    def part(self, share: Share) -> Plan[Request]:
        """Every so many-th row."""
        items = tuple(item for item in self.items if share.takes(item.index))
        return Plan(self.path, items, tuple(fault for fault in self.faults if share.takes(fault.index)))


def plan_batch(
    path: Path,
    to_item: Callable[[Row], Item[Request]],
    *,
    folder: Path = Path(),
    share: Share | None = None,
    pass_by: Callable[[Row], object] = lambda row: None,
) -> Plan[Request]:
    """Read a batch file and check all its rows. A wrong row does not stop the others.

    Args:
        to_item: an item out of a row; raises InputError for all that is wrong with it.
        folder: in which items are written, or below.
        share: of the rows, of which alone anything is read; None for all.
        pass_by: told of the other rows, each in its turn.
    Raises:
        InputError: the file is none, or not one of its rows is good: everything that is wrong, with its place.
        CheckpointError: weights that every item needs are missing.
    """
    rows = read_rows(path)
    with looking([folder]):
        own = [row for row in rows if share is None or share.takes(row.index)]
        found = list(_in_stores(own, folder_of(path)))
        if found:
            output.status(f"Copying up to {len(found)} inputs of the rows out of the store")
            fetch_all(found)
        return plan_rows(path, rows, to_item, share=share, pass_by=pass_by)


def _in_stores(rows: Iterable[Row | Fault], folder: Path) -> Iterator[StorePath]:
    """What rows seem to name in a store, by its address or as a file beside a batch file that lies there."""
    fields = (field for row in rows if isinstance(row, Row) for field in row.values.items())
    for value in {text for name, given in fields if _is_read(name) for text in _texts(given)}:
        if is_address(value):
            with suppress(ValueError):
                yield stored(Path(value))  # type: ignore[misc]
        elif isinstance(folder, StorePath) and _FILE.fullmatch(value):
            yield folder / value


def _is_read(name: str) -> bool:
    """Whether a field of a row may name what is read: others cost a question to the store, and no more."""
    return not any(word in name for word in ("output", "save", "prompt"))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def plan_rows(
    path: Path,
    rows: Iterable[Row | Fault],
    to_item: Callable[[Row], Item[Request]],
    *,
    share: Share | None = None,
    pass_by: Callable[[Row], object] = lambda row: None,
) -> Plan[Request]:
    """As `plan_batch`, with rows that are no lines of a file, such as the files of a folder."""
    items: list[Item[Request]] = []
    faults: list[Fault] = []
    owners: dict[Path, str] = {}
    for row in rows:
        if share is not None and not share.takes(row.index):
            if isinstance(row, Row):
                pass_by(row)
            continue
        if isinstance(row, Fault):
            faults.append(row)
            continue
        try:
            item = to_item(row)
            for file in item.files:
                check_name(file, field="")
            _claim(item, owners)
        except InputError as error:
            faults.append(Fault(row.place, row.index, tuple(_placed(problem, row) for problem in error.problems)))
        else:
            items.append(item)
    if not items and share is None:  # of the rows of others some may be good
        raise InputError.from_problems(problem for fault in faults for problem in fault.problems)
    return Plan(path, tuple(items), tuple(faults))


def _claim(item: Item[Any], owners: dict[Path, str]) -> None:
    """Make sure that no two items write one file."""
    for file in item.files:
        owner = owners.get(same_file(file))
        if owner is not None:
            raise InputError(f"writes {file}, as {owner} does.", fix="Give each row an output of its own.")
    owners.update((same_file(file), item.place) for file in item.files)


def _placed(problem: Problem, row: Row) -> Problem:
    where = problem.where or ""
    if not where.startswith(row.place):
        where = f"{row.place}, {where}" if where else row.place
    return Problem(problem.what, where, problem.fix)


def describe(error: BaseException) -> str:
    """One line for a ledger and a table."""
    text = str(error) if isinstance(error, CosmosError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
