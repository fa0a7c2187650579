"""The engine of one machine: while one item is made, the next is prepared and the last one's files are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from cosmos_cli import output
from cosmos_cli.batch.desk import Desk
from cosmos_cli.batch.engines import Load
from cosmos_cli.batch.plan import Item
from cosmos_cli.batch.report import Outcome
from cosmos_cli.batch.steps import Alone, Result, Step, Team, Worker
from cosmos_cli.errors import DiskFull, met_by
from cosmos_cli.runtime.threads import same_device
from cosmos_cli.runtime.workers.agreement import deciding, together


class LocalEngine:
    """Works in this process and in those that were launched with it."""

    def work_off(self, todo: Sequence[Item[Any]], load: Load, desk: Desk) -> list[Outcome]:
        """The outcomes of these items, made by all processes together."""
        worker = load([item.request for item in todo])
        team: Team = getattr(worker, "team", Alone())
        desk.is_writer = team.is_writer
        return team.gather(list(_Run(worker, desk, team).all(todo[team.group :: team.num_groups])))


class _Run:
    """One pass over the items: three steps, each in its thread, and at most one item in each."""

    def __init__(self, worker: Worker, desk: Desk, team: Team) -> None:
        self._worker, self._desk, self._team = worker, desk, team

    def all(self, items: Sequence[Item[Any]]) -> Iterator[Outcome]:
        """The outcome of every item, each as soon as it is known."""
        if not items:
            return
        with self._desk.letting_go(), _thread("prepare") as ahead, _thread("write") as behind:
            preparing = ahead.submit(self._prepare, items[0])
            writing: Future[Outcome] | None = None
            for number, item in enumerate(items, start=1):
                output.status(f"[{number}/{len(items)}] {item.name}")
                prepared = preparing.result()
                if number < len(items):
                    preparing = ahead.submit(self._prepare, items[number])
                self._desk.begin(item)
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

    @property
    def _circle(self) -> Any:
        return getattr(self._team, "circle", None)

    def _prepare(self, item: Item[Any]) -> Step:
        with deciding(getattr(self._team, "circle_ahead", None)):
            return Step(item.request).then(self._worker.prepare, in_background=True)

    def _make(self, item: Item[Any], sample: Any) -> Any:
        with deciding(self._circle):
            together(lambda: self._desk.claim(item))
            return together(lambda: self._worker.make(sample))

    def _write(self, item: Item[Any], made: Step) -> Outcome:
        def write(value: Any) -> Result:
            with self._desk.writing(item, made.seconds):
                return self._worker.write(value)

        with deciding(None):  # the writer is by itself
            written = made.then(write, in_background=True)
        if isinstance(written.error, DiskFull):  # no fault of the item, and those behind it would be made in vain
            raise written.error
        if written.error is not None:
            return self._desk.fail(item, written.error, written.seconds)
        return self._desk.close(item, seconds=written.seconds, result=written.value.document())


@contextmanager
def _thread(name: str) -> Iterator[ThreadPoolExecutor]:
    """A thread for one step; what it has not begun when the batch is stopped, it does not begin."""
    pool = ThreadPoolExecutor(1, thread_name_prefix=name, initializer=same_device())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
