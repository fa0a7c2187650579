"""A loaded model and the two threads that items pass: one prepares, one makes, both in the order in which items come.

Processes that make items together each have one, and are given the same items in the same order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from cosmos_cli.batch.plan import Item
from cosmos_cli.batch.steps import Step, Worker
from cosmos_cli.errors import met_by
from cosmos_cli.runtime.memory.steps import OutOfMemory
from cosmos_cli.runtime.threads import same_device
from cosmos_cli.runtime.workers.agreement import deciding, together


class Conveyor:
    """Its steps never raise: a step tells its error. After one that the others do not share, it comes to a stop."""

    def __init__(self) -> None:
        self._making = ThreadPoolExecutor(1, thread_name_prefix="make")
        self._preparing: ThreadPoolExecutor | None = None
        self._worker: Worker | None = None
        self._left = set[str]()

    @property
    def worker(self) -> Worker:
        """The model, once it is loaded."""
        assert self._worker is not None
        return self._worker

    def open(self, load: Callable[[], Worker]) -> Future[Step]:
        """Load the model, in the thread that will make."""
        return self._making.submit(self._open, load)

    def take(self, item: Item[Any]) -> Future[Step]:
        """An item that is prepared and made after those that came before; the model must be loaded."""
        assert self._preparing is not None
        return self._making.submit(self._make, self._preparing.submit(self._prepare, item))

    def _open(self, load: Callable[[], Worker]) -> Step:
        opened = _then(Step(), lambda _: load())
        if opened.error is None:
            self._worker = opened.value
            self._preparing = ThreadPoolExecutor(1, thread_name_prefix="prepare", initializer=same_device())
        return opened

    def _prepare(self, item: Item[Any]) -> Step:
        return self._in_step("circle_ahead", Step(item.request), self.worker.prepare)

    def _make(self, prepared: Future[Step]) -> Step:
        return self._in_step("circle", prepared.result(), lambda sample: together(lambda: self.worker.make(sample)))

    def _in_step(self, name: str, step: Step, work: Callable[[Any], Any]) -> Step:
        """The next step, decided by those in the circle of this name; after an error of one alone there is no other."""
        if name in self._left:
            # the others are at another item, and would take what this process says of the next for their own
            threading.Event().wait()
        circle = getattr(getattr(self.worker, "team", None), name, None)
        with deciding(circle):
            step = _then(step, work)
        if circle is not None and not is_shared(step):
            self._left.add(name)
        return step


def is_shared(step: Step) -> bool:
    """Whether all processes have come as far as this one, be it to an error."""
    return step.error is None or met_by(step.error) is not None


def _then(step: Step, work: Callable[[Any], Any]) -> Step:
    try:
        return step.then(work)  # all threads tell of their steps: an actor goes on while one of them does
    except OutOfMemory as error:  # for which workers of a launcher would start again
        return Step(None, error, step.seconds, step.notices)
