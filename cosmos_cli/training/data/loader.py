"""The clips of every step, decoded ahead in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from cosmos_cli import output
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.interrupts import ASKING
from cosmos_cli.runtime.workers.worker import end_with_parent
from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.data.kept import Gathered, Kept
from cosmos_cli.training.data.reading import Passage, Reader
from cosmos_cli.training.data.source import Dataset
from cosmos_cli.training.recipe import Data

_WINDOW = 1000
_MAX_REPLACED = 100
"""Clips of the last `_WINDOW` that may have been replaced."""
_DEAD_WORKER = "DataLoader worker"
"""How torch 2.13 begins to say that a process which reads ahead has ended."""


class Loader:
    """The clips of every step for one data-parallel rank, in micro-batches. A context: processes end with it.

    A clip that cannot be read is replaced by the next in the order, the same on every rank and in every run, and told.

    Args:
        global_batch_size: clips of a step over all ranks, a multiple of `world` times the batch size.
        rank, world: data-parallel.
        first_step: counted from 0.
        kept: clips that are encoded already; see `Reader`. With it the clips of a pass come as `Gathered`.
    """

    def __init__(
        self,
        dataset: Dataset,
        data: Data,
        *,
        seed: int,
        global_batch_size: int,
        rank: int = 0,
        world: int = 1,
        first_step: int = 0,
        kept: Kept | None = None,
    ) -> None:
        self._reader = Reader(dataset, seed, shuffles=data.shuffle, kept=kept)
        self._num_workers = data.num_workers
        self._size, self._step = global_batch_size, first_step
        own = range(rank * global_batch_size // world, (rank + 1) * global_batch_size // world)
        self._places = [tuple(own[start : start + data.batch_size]) for start in range(0, len(own), data.batch_size)]
        self._told: set[str | None] = set()
        self._replaced: deque[bool] = deque(maxlen=_WINDOW)
        self._passages: Iterator[Passage] | None = None
        self._processes: list[Any] = []

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # torch 2.13 ends its processes when nobody holds its iterator; the frames of an error may
        end: Callable[[], None] = getattr(self._passages, "_shutdown_workers", lambda: None)
        self._passages = None
        try:
            end()
        except RuntimeError as another:
            if not _is_of_dead_worker(another):
                raise
        for process in self._processes:
            if process.is_alive():  # at a clip that takes long, and deaf to SIGTERM
                process.kill()
            process.join()
        self._processes = []
        if _is_of_dead_worker(error):
            raise _died(error) from error

    def __iter__(self) -> Iterator[list[tuple[Examples | Gathered, tuple[int, ...]]]]:
        """Steps without end.

        Raises:
            InputError: too many clips cannot be read.
            CosmosError: a process that reads ahead was killed.
        """
        passages = self._passages = self._begin()
        del passages  # who leaves the context ends it, not who drops this generator
        while True:
            yield [(self._next(places), places) for places in self._places]
            self._step += 1

    def _next(self, places: tuple[int, ...]) -> Examples | Gathered:
        assert self._passages is not None
        try:
            passage = next(self._passages)
        except (RuntimeError, ConnectionError, EOFError) as error:
            # it may also end while it hands something over
            if isinstance(error, RuntimeError) and not _is_of_dead_worker(error):
                raise
            raise _died(error) from error
        for problem in passage.replaced:
            if problem.where not in self._told:
                self._told.add(problem.where)
                output.notice(f"a clip is left out, and the next takes its place: {problem}")
        if passage.error is not None:
            raise InputError.from_problems([passage.error])
        self._replaced.extend(number < len(passage.replaced) for number in range(len(places)))
        if sum(self._replaced) > _MAX_REPLACED:
            raise InputError(
                f"{sum(self._replaced)} of the last {len(self._replaced)} clips could not be read.",
                where="the data set",
                fix="Look at the files that were named before; the run goes on where it was saved when it is started "
                "again.",
            )
        assert passage.clips is not None
        return passage.clips

    def _begin(self) -> Iterator[Passage]:
        is_pinned = torch.cuda.is_available() and torch.cuda.is_initialized()
        if not self._num_workers:
            passages: Iterator[Passage] = map(self._reader, self._positions(self._step))
            return (passage.pin_memory() for passage in passages) if is_pinned else passages
        loader: DataLoader[Passage] = DataLoader(
            _Ahead(self._reader),
            sampler=_Positions(self._positions(self._step)),
            batch_size=None,
            num_workers=self._num_workers,
            # a process that has threads and a GPU cannot be forked
            multiprocessing_context="spawn",
            worker_init_fn=_Start(os.getpid()),
            prefetch_factor=1,
            pin_memory=is_pinned,
        )
        before = set(multiprocessing.active_children())
        with _starting():
            passages = iter(loader)
        self._processes = [each for each in multiprocessing.active_children() if each not in before]
        return passages

    def _positions(self, first_step: int) -> Iterator[list[int]]:
        """Of each forward pass."""
        step = first_step
        while True:
            for places in self._places:
                yield [step * self._size + place for place in places]
            step += 1


@contextmanager
def _starting() -> Iterator[None]:
    """A block that starts processes which know nothing of this one's command, and heed no signal that asks to save.

    Such signals go to the whole group, and those who read ahead must not see them, from their first moment on. And a
    process begins by running the script of this one once more, which is `cosmos` itself.
    """
    main = sys.modules["__main__"]
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


class _Ahead(TorchDataset[Passage]):
    """A reader, as torch calls it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __getitem__(self, positions: list[int]) -> Passage:
        return self._reader(positions)


class _Positions:
    """Positions of each forward pass, as torch takes them."""

    def __init__(self, positions: Iterator[list[int]]) -> None:
        self._positions = positions

    def __iter__(self) -> Iterator[list[int]]:
        return self._positions


class _Start:
    """What a process that reads ahead does first."""

    def __init__(self, parent: int) -> None:
        self._parent = parent

    def __call__(self, _worker: int) -> None:
        end_with_parent(self._parent, signal.SIGKILL)
        output.configure(speaking=False)


def _is_of_dead_worker(error: BaseException | None) -> bool:
    """Whether torch says so, which it does from a signal handler: whatever the process does at that moment."""
    return isinstance(error, RuntimeError) and str(error).startswith(_DEAD_WORKER)


def _died(error: BaseException | None) -> CosmosError:
    return CosmosError(
        f"a process that decodes clips has ended: {error}",
        where="data.num_workers",
        fix="Too little memory is the usual reason, in a container too little shared memory (--shm-size, or "
        "--ipc=host): set data.num_workers lower; 0 decodes without such processes.",
    )
