"""Works off the items of a batch: while one is made, the next is prepared and the last one's files are written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from cosmos_cli import interrupts, output
from cosmos_cli.batch.ledger import Entry, Ledger, open_ledger, read_ledger
from cosmos_cli.batch.manifest import Fault
from cosmos_cli.batch.page import keeping_page, page_of
from cosmos_cli.batch.plan import Item, Plan, describe
from cosmos_cli.errors import CosmosError, GuardrailBlocked, InputError, Problem, met_by
from cosmos_cli.files.identity import Identity
from cosmos_cli.files.outputs import Claim, claim, clear_up
from cosmos_cli.files.transactions import transaction
from cosmos_cli.runtime.memory.steps import OutOfMemory
from cosmos_cli.runtime.threads import same_device
from cosmos_cli.runtime.workers.agreement import agree, deciding, together
from cosmos_cli.runtime.workers.rank import find_rank

Request = TypeVar("Request")
Status = Literal["done", "done before", "failed", "blocked"]


class Result(Protocol):
    """What the last step of an item gives."""

    def document(self) -> Mapping[str, Any]:
        """For `--json` and the ledger."""


class Team(Protocol):
    """The processes that work off a batch, in groups: each makes items of its own, and one process of it writes."""

    @property
    def num_groups(self) -> int:
        """How many items are made at a time."""

    @property
    def group(self) -> int:
        """Number of this process's group."""

    @property
    def is_writer(self) -> bool:
        """Whether this process writes for its group."""

    def gather(self, own: Sequence[Any], /) -> list[Any]:
        """What the writers of all groups have."""


class Alone:
    """The team of one process; what a worker without a `team` has."""

    num_groups, group, is_writer = 1, 0, True

    def gather(self, own: Sequence[Any]) -> list[Any]:
        return list(own)


class Worker(Protocol):
    """What a pipeline offers to a batch: its work on one request in three steps, each given what the last gave.

    One that several processes run has a `team`, see `Team`.
    """

    def prepare(self, request: Any, /) -> Any:
        """Read and compute what needs no network of the pipeline; runs in a thread of its own."""

    def make(self, sample: Any, /) -> Any:
        """Everything on the device."""

    def write(self, made: Any, /) -> Result:
        """Encode and write the files; runs in a thread of its own. What vouches for the others is written last."""


@dataclass(frozen=True)
class Outcome:
    """What became of one row."""

    name: str
    place: str
    index: int
    status: Status
    seconds: float = 0.0
    error: str = ""
    result: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Report:
    """What became of a batch: every row, in the order of the file."""

    outcomes: tuple[Outcome, ...]
    ledger: Path
    seconds: float

    @property
    def exit_code(self) -> int:
        """0, or 1 if a row failed, or 3 if all that is missing was blocked by guardrails."""
        statuses = {outcome.status for outcome in self.outcomes}
        if "failed" in statuses:
            return CosmosError.exit_code
        return GuardrailBlocked.exit_code if "blocked" in statuses else 0

    @property
    def page(self) -> Path | None:
        """The page that shows it, if it could be written."""
        return page_of(self.ledger)

    def summary(self) -> str:
        """A table for people, and a line below it."""
        rows = [(o.name, o.status, f"{o.seconds:.1f} s" if o.seconds else "", o.error) for o in self.outcomes]
        counts = {status: sum(o.status == status for o in self.outcomes) for status in ("failed", "blocked")}
        num_done = sum(o.status in ("done", "done before") for o in self.outcomes)
        parts = [f"{num_done} of {len(self.outcomes)} done"]
        parts += [f"{count} {status}" for status, count in counts.items() if count]
        line = f"{', '.join(parts)} in {self.seconds:.1f} s; the same command again goes on with what is missing"
        if num_done == len(self.outcomes):
            line = f"{parts[0]} in {self.seconds:.1f} s"
        page = f"\nreport: {self.page}" if self.page else ""
        return output.table(("ITEM", "STATUS", "TIME", "ERROR"), rows) + f"\n{line}{page}"

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "status": "ok" if self.exit_code == 0 else "failed",
            "exit_code": self.exit_code,
            "samples": [asdict(outcome) for outcome in self.outcomes],
            "ledger": str(self.ledger),
            "report": str(self.page) if self.page else None,
            "seconds": round(self.seconds, 3),
        }


def run_batch(
    plan: Plan[Request],
    load: Callable[[Sequence[Request]], Worker],
    *,
    ledger: Path,
    overwrite: bool = False,
    writes_page: bool = True,
) -> Report:
    """Work off a batch; what an earlier run with the same ledger has finished is not touched.

    An item that fails or is blocked does not stop the others. At any time one item is prepared, one is made and one is
    written, so memory does not grow with the length of the batch.

    Args:
        load: the worker for these requests; called once, and not at all if nothing is left to do. If guardrails refuse
            every one of them it raises GuardrailBlocked.
        ledger: file that remembers finished items.
        overwrite: make every item again, and replace files of others.
        writes_page: whether the report of the ledger's folder is kept, see `cosmos_cli.batch.page`.
    Raises:
        InputError: another process works on the same batch.
        OutOfMemory: the device of one of several processes is too small; what is finished is kept.
        KeyboardInterrupt: it was stopped; what is finished is kept and known to the ledger.
    """
    start, place = time.perf_counter(), find_rank()
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
            todo, others = _sort(plan, opened[0], overwrite=overwrite)
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
            outcomes |= {outcome.index: outcome for outcome in _work_off(todo, load, book, overwrite=overwrite)}
    ordered = tuple(outcomes[index] for index in sorted(outcomes))
    return Report(ordered, ledger, time.perf_counter() - start)


def left_to_do(plan: Plan[Request], *, ledger: Path, overwrite: bool = False) -> list[Item[Request]]:
    """The items that `run_batch` would make now; arguments as there. Writes nothing."""
    return _sort(plan, read_ledger(ledger), overwrite=overwrite)[0]


def _sort(plan: Plan[Request], book: Ledger, *, overwrite: bool) -> tuple[list[Item[Request]], list[Outcome]]:
    """The items that are to be made, and what has become of the others already."""
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
            _check_unowned(item, book, overwrite=overwrite)
            todo.append(item)
        except InputError as error:
            others.append(Outcome(item.name, item.place, item.index, "failed", error=describe(error)))
    return todo, others


def _is_done(item: Item[Any], known: Entry, book: Ledger) -> bool:
    """Whether all that an item wrote is still there, and still what it wrote."""
    if known.status == "done" and not known.files:  # older ledgers do not tell
        return all(file.exists() for file in item.files)
    return known.status in ("written", "done") and all(book.knows(item, file) for file in item.files)


def _check_unowned(item: Item[Any], book: Ledger, *, overwrite: bool) -> None:
    """Make sure that an item replaces nothing that is not its own.

    Its own is all that the ledger knows in full, and what lies damaged among that.

    Raises:
        InputError: a file exists that another request, or somebody else, has made.
    """
    if overwrite:
        return
    existing = [file for file in item.files if os.path.lexists(file)]
    if existing and not any(book.has_written(item, file) for file in existing):
        raise InputError.from_problems(
            Problem(f"{file} exists already, and not from this row.", item.place, "Move it, or pass --overwrite.")
            for file in existing
        )


def _work_off(
    todo: Sequence[Item[Request]], load: Callable[[Sequence[Request]], Worker], ledger: Ledger, *, overwrite: bool
) -> list[Outcome]:
    """The outcomes of these items, made by all processes together."""
    try:
        worker = load([item.request for item in todo])
    except GuardrailBlocked as blocked:  # for every item, or it would have loaded
        reason, place = describe(blocked), find_rank()
        for item in todo if place is None or place.rank == 0 else ():
            ledger.write(Entry(item.key, item.name, "blocked", reason))
        return [Outcome(item.name, item.place, item.index, "blocked", error=reason) for item in todo]
    team: Team = getattr(worker, "team", Alone())
    return team.gather(list(_Run(worker, ledger, team, overwrite=overwrite).all(todo[team.group :: team.num_groups])))


def _first(fault: Fault) -> str:
    """The first of a row's problems; its place stands in a column of its own."""
    [first, *others] = fault.problems
    field = (first.where or "").removeprefix(fault.place).lstrip(", ")
    more = f" (and {len(others)} more)" if others else ""
    return (f"{field}: " if field else "") + first.what + more


@dataclass(frozen=True)
class _Step:
    """How far an item has come: what the last step gave, or the error that ended it."""

    value: Any = None
    error: Exception | None = None
    seconds: float = 0.0
    notices: tuple[str, ...] = ()

    def then(self, work: Callable[[Any], Any], *, in_background: bool = False) -> _Step:
        """The next step, unless an earlier one failed. An item's notices stay with it from thread to thread."""
        if self.error is not None:
            return self
        start = time.perf_counter()
        with output.recording(self.notices, in_background=in_background):
            try:
                value, error = work(self.value), None
            except OutOfMemory:  # the others of the group wait for this process: only together can they go on
                raise
            except Exception as raised:  # one item's failure shall not cost the others
                value, error = None, raised
            seconds = self.seconds + time.perf_counter() - start
            return _Step(value, error, seconds, tuple(output.notices()))


class _Run:
    """One pass over the items: three steps, each in its thread, and at most one item in each."""

    def __init__(self, worker: Worker, ledger: Ledger, team: Team, *, overwrite: bool) -> None:
        self._worker, self._ledger, self._team, self._overwrite = worker, ledger, team, overwrite
        self._claims: dict[str, Claim] = {}

    def all(self, items: Sequence[Item[Any]]) -> Iterator[Outcome]:
        """The outcome of every item, each as soon as it is known."""
        if not items:
            return
        with self._letting_go(), _thread("prepare") as ahead, _thread("write") as behind:
            preparing = ahead.submit(self._prepare, items[0])
            writing: Future[Outcome] | None = None
            for number, item in enumerate(items, start=1):
                output.status(f"[{number}/{len(items)}] {item.name}")
                prepared = preparing.result()
                if number < len(items):
                    preparing = ahead.submit(self._prepare, items[number])
                # from here on its files are its own: they may be there after a kill without a line that says so
                self._note(Entry(item.key, item.name, "started"))
                made = prepared.then(partial(self._make, item))
                del prepared
                if made.error is not None and self._circle is not None and met_by(made.error) is None:
                    raise made.error  # the others are still at it: this process cannot go on with the next
                if writing is not None:
                    yield writing.result()  # before the next is handed over, so that no two wait in memory
                writing = behind.submit(self._write, item, made)
                del made
            if writing is not None:
                yield writing.result()

    @contextmanager
    def _letting_go(self) -> Iterator[None]:
        """Whatever ends it, nothing stays claimed."""

        def release() -> None:
            while self._claims:
                self._claims.popitem()[1].release()

        with interrupts.at_leave(release):
            try:
                yield
            finally:
                release()

    def _note(self, entry: Entry) -> None:
        if self._team.is_writer:
            self._ledger.write(entry)

    @property
    def _circle(self) -> Any:
        return getattr(self._team, "circle", None)

    def _prepare(self, item: Item[Any]) -> _Step:
        with deciding(getattr(self._team, "circle_ahead", None)):
            return _Step(item.request).then(self._worker.prepare, in_background=True)

    def _make(self, item: Item[Any], sample: Any) -> Any:
        with deciding(self._circle):
            together(lambda: self._claim(item))
            return together(lambda: self._worker.make(sample))

    def _claim(self, item: Item[Any]) -> None:
        """Take the item's files. Raises InputError: another process makes them, or has made them meanwhile."""
        if self._team.is_writer:
            self._claims[item.key] = claim(item.files)
            _check_unowned(item, self._ledger, overwrite=self._overwrite)

    def _write(self, item: Item[Any], made: _Step) -> Outcome:
        files: dict[str, Identity] = {}

        def about_to_appear(found: Mapping[Path, Identity]) -> None:
            files.update((self._ledger.name_of(path), identity) for path, identity in found.items())
            self._note(Entry(item.key, item.name, "written", seconds=round(made.seconds, 3), files=files))

        def check() -> None:
            self._claims[item.key].check()
            _check_unowned(
                item, self._ledger, overwrite=self._overwrite
            )  # somebody may have put a file there meanwhile

        def write(value: Any) -> Result:
            if not self._team.is_writer:
                return self._worker.write(value)
            with transaction(item.files, about_to_appear, check=check):
                return self._worker.write(value)

        with deciding(None):  # the writer is by itself
            written = made.then(write, in_background=True)
        if item.key in self._claims:
            self._claims.pop(item.key).release()
        outcome = Outcome(item.name, item.place, item.index, "done", round(written.seconds, 3))
        if written.error is None:
            outcome = replace(outcome, result=written.value.document())
        else:
            is_blocked = isinstance(written.error, GuardrailBlocked)
            outcome = replace(outcome, status="blocked" if is_blocked else "failed", error=describe(written.error))
            output.status(f"{item.name}: {outcome.status}: {outcome.error}")
        self._note(
            Entry(item.key, item.name, outcome.status, outcome.error, outcome.seconds, outcome.result or {}, files)  # type: ignore[arg-type]  # this pass has no item that was done before
        )
        return outcome


@contextmanager
def _thread(name: str) -> Iterator[ThreadPoolExecutor]:
    """A thread for one step; what it has not begun when the batch is stopped, it does not begin."""
    pool = ThreadPoolExecutor(1, thread_name_prefix=name, initializer=same_device())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
