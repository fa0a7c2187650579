"""Batches: what is left to do of one, an engine that does it, and a report of all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from cosmos_cli import output
from cosmos_cli.batch.desk import Desk, check_unowned
from cosmos_cli.batch.engines import Engine, Load
from cosmos_cli.batch.entries import Entry
from cosmos_cli.batch.ledger import Ledger, open_ledger, read_ledger, share_ledger
from cosmos_cli.batch.local import LocalEngine
from cosmos_cli.batch.manifest import Fault
from cosmos_cli.batch.page import keeping_page
from cosmos_cli.batch.plan import Item, Plan, describe
from cosmos_cli.batch.report import Outcome, Report
from cosmos_cli.batch.steps import Worker
from cosmos_cli.errors import GuardrailBlocked, InputError
from cosmos_cli.files.outputs import clear_up
from cosmos_cli.files.stores import looking
from cosmos_cli.files.writing import remove_stored_remains
from cosmos_cli.runtime.workers.agreement import agree
from cosmos_cli.runtime.workers.rank import find_rank
from cosmos_cli.runtime.workers.share import Share

__all__ = ["Outcome", "Report", "Worker", "left_to_do", "run_batch"]

Request = TypeVar("Request")


def run_batch(
    plan: Plan[Request],
    load: Callable[[Sequence[Request]], Worker],
    *,
    ledger: Path,
    overwrite: bool = False,
    engine: Engine | None = None,
    share: Share | None = None,
    writes_page: bool = True,
) -> Report:
    """Work off a batch; what an earlier run with the same ledger has finished is not touched.

    An item that fails or is blocked does not stop the others. The engine of this machine prepares one item, makes
    one and writes one at any time, so memory does not grow with the length of the batch.

    Args:
        load: the worker for these requests; called once, and not at all if nothing is left to do. If guardrails refuse
            every one of them it raises GuardrailBlocked.
        ledger: file that remembers finished items.
        overwrite: make every item again, and replace files of others.
        engine: what makes the items; None for this machine.
        share: of the rows, to make those alone, with a ledger beside that of all; what others have finished is known.
        writes_page: whether the report of the ledger's folder is kept, see `cosmos_cli.batch.page`.
    Raises:
        InputError: another process works on the same batch.
        OutOfMemory: the device of one of several processes is too small; what is finished is kept.
        KeyboardInterrupt: it was stopped; what is finished is kept and known to the ledger.
    """
    start, place = time.perf_counter(), find_rank()
    if share is not None:
        plan, ledger = plan.part(share), share_ledger(ledger, share)
    for fault in plan.faults:
        for problem in fault.problems:
            output.status(f"wrong row: {problem}")
    outcomes = {
        fault.index: Outcome(fault.place, fault.place, fault.index, "failed", error=_first(fault))
        for fault in plan.faults
    }
    is_ours = place is None or place.rank == 0
    with ExitStack() as stack:
        if writes_page:
            stack.enter_context(keeping_page(ledger, is_ours=is_ours))  # left last, when the batch has ended
        opened: list[Ledger] = []

        def sort() -> tuple[list[Item[Request]], list[Outcome]]:
            opened.append(stack.enter_context(open_ledger(ledger, is_ours=is_ours)))
            with looking([ledger.parent]):  # once for all items, each of which may have a folder of its own
                todo, others = _sort(plan, opened[0], overwrite=overwrite)
                remove_stored_remains(file for item in plan.items for file in item.files)
            told = (*outcomes.values(), *others)
            opened[0].begin(plan.items, {outcome.name: outcome.error for outcome in told if outcome.error})
            return todo, others

        # one process looks: disks may tell each machine otherwise what is there
        todo, others = agree(sort, "reading the ledger")
        book = opened[0] if opened else stack.enter_context(open_ledger(ledger, is_ours=is_ours))
        for outcome in others:
            outcomes[outcome.index] = outcome
            if outcome.error:
                output.status(f"wrong row: {outcome.error}")
        if num_before := sum(outcome.status == "done before" for outcome in outcomes.values()):
            output.status(f"{num_before} of {len(plan.items)} items were finished by an earlier run")
        if todo:
            outcomes |= {
                outcome.index: outcome
                for outcome in _work_off(todo, load, book, engine or LocalEngine(), overwrite=overwrite)
            }
    ordered = tuple(outcomes[index] for index in sorted(outcomes))
    return Report(ordered, ledger, time.perf_counter() - start)


def left_to_do(plan: Plan[Request], *, ledger: Path, overwrite: bool = False) -> list[Item[Request]]:
    """The items that `run_batch` would make now; arguments as there. Writes nothing."""
    return _sort(plan, read_ledger(ledger, with_shares=True), overwrite=overwrite)[0]


def _sort(plan: Plan[Request], book: Ledger, *, overwrite: bool) -> tuple[list[Item[Request]], list[Outcome]]:
    """The items that are to be made, and what has become of the others already."""
    with looking([book.folder]):
        return _sorted_out(plan, book, overwrite=overwrite)


def _sorted_out(plan: Plan[Request], book: Ledger, *, overwrite: bool) -> tuple[list[Item[Request]], list[Outcome]]:
    todo, others = [], []
    for item in plan.items:
        try:
            for file in item.files:
                clear_up(file)
            known = book[item.key]
            if known and not overwrite and _is_done(item, known, book):
                done = Outcome(item.name, item.place, item.index, "done before", known.seconds, result=known.result)
                others.append(done)
                continue
            check_unowned(item, book, item.files, overwrite=overwrite)
            todo.append(item)
        except InputError as error:
            others.append(Outcome(item.name, item.place, item.index, "failed", error=describe(error)))
    return todo, others


def _is_done(item: Item[Any], known: Entry, book: Ledger) -> bool:
    """Whether all that an item wrote is still there, and still what it wrote."""
    if known.status == "done" and not known.files:  # older ledgers do not tell
        return all(file.exists() for file in item.files)
    return known.status in ("written", "done") and all(book.knows(item, file) for file in item.files)


def _work_off(
    todo: Sequence[Item[Request]], load: Load, ledger: Ledger, engine: Engine, *, overwrite: bool
) -> Sequence[Outcome]:
    try:
        return engine.work_off(todo, load, Desk(ledger, overwrite=overwrite))
    except GuardrailBlocked as blocked:  # for every item, or it would have loaded
        reason, place = describe(blocked), find_rank()
        for item in todo if place is None or place.rank == 0 else ():
            ledger.write(Entry(item.key, item.name, "blocked", reason))
        return [Outcome(item.name, item.place, item.index, "blocked", error=reason) for item in todo]


def _first(fault: Fault) -> str:
    """The first of a row's problems; its place stands in a column of its own."""
    [first, *others] = fault.problems
    field = (first.where or "").removeprefix(fault.place).lstrip(", ")
    more = f" (and {len(others)} more)" if others else ""
    return (f"{field}: " if field else "") + first.what + more
