"""The one place that says whose an item's files are, keeps the ledger, and lets files have their names.

Engines work for it: whoever makes an item, on whatever machine, its files get their names here, after the ledger knows
what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from cosmos_cli import interrupts, output
from cosmos_cli.batch.entries import Entry
from cosmos_cli.batch.ledger import Ledger
from cosmos_cli.batch.plan import Item, describe
from cosmos_cli.batch.report import Outcome
from cosmos_cli.errors import CosmosError, GuardrailBlocked, InputError, Problem
from cosmos_cli.files.identity import Identity, marks_of
from cosmos_cli.files.missing import those_there
from cosmos_cli.files.outputs import Claim, claim
from cosmos_cli.files.store_service import patiently
from cosmos_cli.files.stores import StorePath
from cosmos_cli.files.transactions import give_names, transaction
from cosmos_cli.files.writing import Transaction, remove_remains


class Desk:
    """What became of items goes here.

    overwrite: replace files of others.
    is_writer: False in a process that only works along, and leaves files and ledger to another.
    """

    def __init__(self, ledger: Ledger, *, overwrite: bool) -> None:
        self._ledger, self._overwrite, self.is_writer = ledger, overwrite, True
        self._claims: dict[str, Claim] = {}
        self._files: dict[str, dict[str, Identity]] = {}

    @contextmanager
    def letting_go(self) -> Iterator[None]:
        """A block at whose end, whatever ends it, nothing stays claimed."""

        def release() -> None:
            while self._claims:
                self._claims.popitem()[1].release()

        with interrupts.at_leave(release):
            try:
                yield
            finally:
                release()

    def begin(self, item: Item[Any]) -> None:
        """From here on its files are its own: they may be there after a kill without a line that says so."""
        self._note(Entry(item.key, item.name, "started"))

    def was_begun(self, item: Item[Any]) -> bool:
        """Whether an earlier run has been at it, or this one."""
        known = self._ledger[item.key]
        return known is not None and known.status != "waiting"

    def claim(self, item: Item[Any]) -> None:
        """Take the item's files. Raises InputError: another process makes them, or has made them meanwhile."""
        if self.is_writer:
            self._claims[item.key] = claim(item.files)
            # in a store nothing is taken by this, and what lay there when the batch began is known
            self._check_unowned(item, [file for file in item.files if not isinstance(file, StorePath)])

    @contextmanager
    def writing(self, item: Item[Any], seconds: float) -> Iterator[None]:
        """A block that writes the files of a claimed item here, and at whose end they get their names.

        Args:
            seconds: that it has taken so far.
        """
        if not self.is_writer:
            yield
            return
        with transaction(
            item.files, lambda found: self._note_written(item, seconds, found), check=lambda: self._check(item)
        ):
            yield

    def take_in(self, item: Item[Any], written: Transaction, known: Mapping[Path, Identity], seconds: float) -> None:
        """Give the files of a claimed item their names, which another process has written into the same folder.

        Args:
            known: what each of them is, under the name that it is to get.
        Raises:
            CosmosError: this machine does not see them, or sees others.
        """
        for source, target in written.moves:
            if _size_of(source) != known[target].num_bytes:
                raise CosmosError(
                    f"{target.name} was written there, and is not to be seen from here.",
                    where=str(target.parent),
                    fix="Write into a folder that all machines share, under one path.",
                )
        give_names(
            written,
            lambda found: self._note_written(item, seconds, found),
            check=lambda: self._check(item),
            known=known,
        )

    def close(
        self,
        item: Item[Any],
        *,
        seconds: float = 0.0,
        result: Mapping[str, Any] | None = None,
        error: str = "",
        status: Literal["done", "failed", "blocked"] = "done",
    ) -> Outcome:
        """The outcome of an item; its files are free from here on."""
        if item.key in self._claims:
            self._claims.pop(item.key).release()
        outcome = Outcome(item.name, item.place, item.index, status, round(seconds, 3), error, result)
        if error:
            output.status(f"{item.name}: {status}: {error}")
        files = self._files.pop(item.key, {})
        entry = Entry(item.key, item.name, status, error, outcome.seconds, result or {}, files)
        self._note(entry, self._marks_of(item) if files and not error else {})
        return outcome

    def fail(self, item: Item[Any], error: Exception, seconds: float = 0.0) -> Outcome:
        """The outcome of an item that was not made."""
        is_blocked = isinstance(error, GuardrailBlocked)
        return self.close(item, seconds=seconds, error=describe(error), status="blocked" if is_blocked else "failed")

    def clear_remains(self, item: Item[Any]) -> None:
        """Remove what processes that died or were given up have left of a claimed item, on whatever machine."""
        for file in item.files:
            remove_remains(file, is_ours=True)

    def _note(self, entry: Entry, marks: Mapping[Path, str] = MappingProxyType({})) -> None:
        if self.is_writer:
            self._ledger.write(entry, marks)

    def _marks_of(self, item: Item[Any]) -> Mapping[Path, str]:
        """What is not known of its finished files costs the next run a look at them, and nothing else."""
        try:
            return marks_of(item.files)
        except CosmosError:
            return {}

    def _check(self, item: Item[Any]) -> None:
        self._claims[item.key].check()
        self._check_unowned(item, item.files)  # somebody may have put a file there meanwhile

    def _check_unowned(self, item: Item[Any], files: Sequence[Path]) -> None:
        patiently(lambda: check_unowned(item, self._ledger, files, overwrite=self._overwrite))

    def _note_written(self, item: Item[Any], seconds: float, found: Mapping[Path, Identity]) -> None:
        self._files[item.key] = {self._ledger.name_of(path): identity for path, identity in found.items()}
        self._note(Entry(item.key, item.name, "written", seconds=round(seconds, 3), files=self._files[item.key]))


def _size_of(path: Path) -> int | None:
    try:
        return int(path.stat().st_size)
    except FileNotFoundError:
        return None


def check_unowned(item: Item[Any], book: Ledger, files: Sequence[Path], *, overwrite: bool) -> None:
    """Make sure that an item replaces nothing that is not its own.

    Its own is all that the ledger knows in full, and what lies damaged among that.

    Args:
        files: of the item, which are looked at.
    Raises:
        InputError: a file exists that another request, or somebody else, has made.
    """
    if overwrite:
        return
    existing = those_there(files)
    if existing and not any(book.has_written(item, file) for file in existing):
        raise InputError.from_problems(
            Problem(f"{file} exists already, and not from this row.", item.place, "Move it, or pass --overwrite.")
            for file in existing
        )
