"""Files that appear together or not at all, and former ones that go with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cosmos_cli import interrupts, output
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.failures import writing
from cosmos_cli.files.identity import Identity, identity_of
from cosmos_cli.files.names import PREFIX
from cosmos_cli.files.stores import StorePath
from cosmos_cli.files.writing import Transaction, json_bytes, replacing, stand_in_start, together_with

Noting = Callable[[Mapping[Path, Identity]], object]
"""Told of every file of a transaction, and what it is, before the first gets its name."""


@contextlib.contextmanager
def transaction(
    outputs: Iterable[Path], noting: Noting | None = None, *, check: Callable[[], object] = lambda: None
) -> Iterator[Transaction]:
    """A block whose outputs all get their names when it ends well, and none otherwise. What else it writes is its own.

    A process that dies in between has left a journal, by which `finish_interrupted` makes the rest. A block inside
    another ends with that.

    Args:
        outputs: files that may be written.
        noting: told of the files before the first gets its name.
        check: refuses, before that, that they get their names.
    Raises:
        DiskFull, CosmosError: as `replacing`.
    """
    if (outer := together_with.get()) is not None:
        yield outer
        return
    with withheld(outputs, wait_here=True) as together:
        yield together
    give_names(together, noting, check=check)


@contextlib.contextmanager
def withheld(outputs: Iterable[Path], *, wait_here: bool = False) -> Iterator[Transaction]:
    """A block whose outputs, whole when it ends well, wait beside their names for `give_names`, be it elsewhere.

    Args:
        wait_here: it is not elsewhere, so that what is for a store need not wait there.
    Raises:
        DiskFull, CosmosError: as `replacing`.
    """
    together = Transaction(frozenset(path.absolute() for path in outputs), wait_here)
    token = together_with.set(together)
    try:
        with interrupts.at_leave(together.discard):
            yield together
    except BaseException:
        together.discard()
        raise
    finally:
        together_with.reset(token)


def give_names(
    together: Transaction,
    noting: Noting | None = None,
    *,
    check: Callable[[], object] = lambda: None,
    known: Mapping[Path, Identity] | None = None,
) -> None:
    """Let withheld outputs have their names, all or none; arguments as for `transaction`.

    Args:
        known: what they are, if that is known.
    """
    try:
        check()
        if noting is not None:
            noting(identities(together) if known is None else known)
        # in a store nothing can be finished by whoever comes by, who does not know what is there
        parts = [(None if _is_stored(part) else _keep(part), part) for part in together.by_folder()]
    except BaseException:
        together.discard()
        raise
    for journal, part in parts:
        if journal is None:
            _finish_in_store(part)
        else:
            _finish(journal, part)


def identities(together: Transaction) -> dict[Path, Identity]:
    """What withheld outputs are, by the names that they are to get."""
    return {target: together.known.get(source) or identity_of(source) for source, target in together.moves}


def _is_stored(part: Transaction) -> bool:
    return isinstance((part.moves[0][1] if part.moves else part.removals[0]), StorePath)


def pending(path: Path) -> Path:
    """Where the content of `path` lies that this transaction has written; else `path` itself."""
    together = together_with.get()
    found = [source for source, target in together.moves if target == path] if together else []
    return found[-1] if found else path


def remove_together(path: Path) -> None:
    """Remove a file if it is there, at the end of the transaction if there is one."""
    if (together := together_with.get()) is not None:
        together.remove(path)
    else:
        path.unlink(missing_ok=True)


def _journal_of(path: Path) -> Path:
    return path.with_name(f"{stand_in_start(path)}journal.json")


def _keep(part: Transaction) -> Path:
    """Write the journal of one folder, by bare names: folders may be moved."""
    first = part.moves[0][1] if part.moves else part.removals[0]
    journal = _journal_of(first)
    moves = [[source.name, target.name] for source, target in part.moves]
    removals = [path.name for path in part.removals]
    before = {path.name: _stamp(path) for path in (*(path for move in part.moves for path in move), *part.removals)}
    names = {"moves": moves, "removals": removals, "before": before}
    with replacing(journal) as temporary:
        temporary.write_bytes(json_bytes({}, as_they_are=names))
    return journal


def _stamp(path: Path) -> list[int] | None:
    """What tells whether a file was changed or replaced since, also where its folder was copied with its times."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _finish(journal: Path, part: Transaction) -> None:
    with writing(journal.parent):
        try:
            part.apply()
        except KeyboardInterrupt:
            part.apply()  # a moment's work, and then nothing stays half done
            journal.unlink(missing_ok=True)
            raise
        # what could not be done now is done when somebody comes by again
        journal.unlink(missing_ok=True)


def _finish_in_store(part: Transaction) -> None:
    try:
        part.apply()
    except BaseException:  # no journal says later what is missing
        for target in part.named:
            with contextlib.suppress(CosmosError, OSError):  # why it is given up says more
                target.unlink(missing_ok=True)
        part.discard()
        raise


def finish_interrupted(path: Path) -> None:
    """Make what a process was about to that died while files got their names, `path` first among them."""
    if not isinstance(path, StorePath):
        _finish_if_there(_journal_of(path))


def finish_all_interrupted(folder: Path) -> None:
    """As `finish_interrupted`, for every file of a folder."""
    if isinstance(folder, StorePath):
        return
    for journal in folder.glob(f"{PREFIX}*-journal.json"):
        _finish_if_there(journal)


def _finish_if_there(journal: Path) -> None:
    if not os.path.lexists(journal):
        return
    together, before = _read_journal(journal) or (Transaction(), {})
    with writing(journal):
        if _is_as_before(together, before):
            _finish(journal, together)
        else:  # whoever was here since has the last word
            names = ", ".join(target.name for _, target in together.moves)
            output.status(
                f"what was left half done of {names} in {journal.parent} is dropped: files there have changed"
            )
            together.discard()
            journal.unlink(missing_ok=True)


def _read_journal(journal: Path) -> tuple[Transaction, dict[str, Any]] | None:
    """What a journal tells, and how its files were before; None if it is damaged, or tells of other folders.

    Anybody may have written it.
    """
    try:
        if journal.is_symlink():
            return None
        document = read_json(journal, limit=1 << 20)
        moves = [(_inside(journal, source), _inside(journal, target)) for source, target in document["moves"]]
        removals = [_inside(journal, name) for name in document["removals"]]
        before = document["before"]
        unknown = {path.name for path in (*(path for move in moves for path in move), *removals)} - before.keys()
        return None if unknown else (Transaction(moves=moves, removals=removals), before)
    except (InputError, OSError, ValueError, TypeError, LookupError, AttributeError):
        return None


def _is_as_before(together: Transaction, before: dict[str, Any]) -> bool:
    """Whether nobody has changed or made a file since that the rest of a journal would replace or take away."""
    for source, target in together.moves:
        is_as_before = _stamp(target) in (None, before[target.name])
        # asked last: it may get its name just now, by the process whose journal this is
        if (now := _stamp(source)) is not None and not (is_as_before and now == before[source.name]):
            return False
    return all(_stamp(path) in (None, before[path.name]) for path in together.removals)


def _inside(journal: Path, name: str) -> Path:
    if Path(name).name != name:
        raise ValueError(f"{name!r} is no name in this folder")
    return journal.with_name(name)
