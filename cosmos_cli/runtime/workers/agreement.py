"""What several processes decide as one: the first of them finds it out, and all go on with what it found.

Whatever a process could decide by itself goes through here: answers of servers and networks, verdicts, what lies in a
folder. In one process this is a plain call. What may differ from process to process is never decided inside only some
of them: all must come by the same calls in the same order.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from cosmos_cli import output
from cosmos_cli.errors import (
    CheckpointError,
    CosmosError,
    DiskFull,
    GuardrailBlocked,
    InputError,
    Problem,
    met_at,
    met_by,
)
from cosmos_cli.runtime.memory.steps import OutOfMemory
from cosmos_cli.runtime.workers import worker

if TYPE_CHECKING:
    import numpy as np
    from torch.distributed import ProcessGroup, Work

T = TypeVar("T")

PATIENCE_S = 10.0
"""How long a process that failed by itself waits for the others, who may wait for it elsewhere and for ever."""

WITHOUT_END = timedelta(days=365)
"""How long processes wait for others that may work for hours; the watch over each of those finds one that hangs."""

_FIRST_LOOK_S, _LOOK_S = 0.001, 0.1
"""Pauses between two looks whether others have come: what is quickly found out is not waited for, and then the most."""

_ALONE = object()
_deciding: ContextVar[Any] = ContextVar("deciding", default=None)
"""The group of processes that decide together in this thread; None is all that were launched together."""

_everybody: list[tuple[Any, ProcessGroup]] = []
"""The default group that was there last, and a group of the same processes for what they decide."""


def agree(compute: Callable[[], T], what: str) -> T:
    """What `compute` gives or raises in the first process that decides; the others do not call it.

    An array, or a tuple with some, is sent as it is; everything else must go through pickle.

    Args:
        what: is found out, as "checking the prompt": the others say that they wait for it.
    """
    group = _group()
    if group is None:
        return compute()
    value, error, waiting = None, None, ""
    if group.rank():
        waiting = f"waiting for rank {_rank_of(group, 0)}'s answer: {what}"
        output.status(waiting)
    else:
        with deciding(None):  # the others are not there to decide anything within
            value, error = _attempt(compute)
    _settle(group, error, waiting)
    made: T = _receive(group, value)
    return made


def together(compute: Callable[[], T]) -> T:
    """What `compute` gives in each process; where it fails in one of them, it fails in all.

    Raises:
        Exception: its own in a process that failed, and what the first of those raised in the others. If they do not
            come by within `PATIENCE_S`, `met_by` knows no rank of it: this process cannot go on with them.
    """
    group = _group()
    if group is None:
        return compute()
    value, error = _attempt(compute)
    if error is not None and (met_by(error) is not None or isinstance(error, OutOfMemory)):
        raise error  # they agreed on it within, or start again without delay
    _settle(group, error)
    return value  # type: ignore[return-value]  # there was no error


def is_alone() -> bool:
    """Whether this process decides for itself."""
    return _group() is None


@contextlib.contextmanager
def deciding(group: ProcessGroup | None) -> Iterator[None]:
    """A block in which these processes decide together; threads begin with all that were launched.

    Args:
        group: over gloo, and for one thread of each process; None for this process alone.
    """
    token = _deciding.set(_ALONE if group is None else group)
    try:
        yield
    finally:
        _deciding.reset(token)


def new_groups(num_groups: int, size: int, *, timeout: timedelta | None = None) -> list[ProcessGroup]:
    """Groups of `size` neighbours each that together are all processes; every process must call this.

    Args:
        timeout: how long they wait for each other; None for a little longer than the watch over workers does.
    """
    import torch.distributed as dist

    # the watch shall come first: it knows where they are
    timeout = timeout or timedelta(seconds=worker.read_timeout() + 30)
    return [
        dist.new_group(list(range(number * size, (number + 1) * size)), timeout=timeout, backend="gloo")
        for number in range(num_groups)
    ]


def wait_for_all(group: ProcessGroup, what: str) -> None:
    """Return when all of a group have called this, however long others work; who waits says so, and does not hang.

    One that hangs meanwhile is found by its own watch, and one that is gone ends this with a RuntimeError.

    Args:
        what: is waited for, as in "waiting for the last videos".
    """
    import torch.distributed as dist

    work = dist.barrier(group=group, async_op=True)
    assert work is not None
    _wait_for(work, what)


def _wait_for(work: Work, what: str) -> None:
    """See `wait_for_all`."""
    pause_s = _FIRST_LOOK_S
    while not work.is_completed():
        worker.step(what)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LOOK_S)
    work.wait()


@dataclass(frozen=True)
class _Array:
    """In place of an array that is sent apart, for pickle would copy it again and again."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def _attempt(compute: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return compute(), None
    except Exception as error:
        return None, error


def _group() -> ProcessGroup | None:
    """Who decides with this process; None for nobody."""
    scope = _deciding.get()
    if scope is not None:
        return None if scope is _ALONE else scope
    dist: Any = sys.modules.get("torch.distributed")  # where it was not imported, nobody has met
    if dist is None or not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    if not _everybody or _everybody[0][0] is not dist.group.WORLD:
        _everybody[:] = [(dist.group.WORLD, *new_groups(1, dist.get_world_size(), timeout=WITHOUT_END))]
    return _everybody[0][1]


def _rank_of(group: ProcessGroup, number: int) -> int:
    """The rank among all processes of one of a group."""
    import torch.distributed as dist

    return dist.get_global_rank(group, number)


def _settle(group: ProcessGroup, own: Exception | None, waiting: str = "") -> None:
    """Raises in all what a process has met: its own error where it has one, else that of the first.

    Args:
        own: the error of this process, if it has one.
        waiting: what this process does meanwhile, if it only waits: however long that takes, it does not hang.
    """
    try:
        told = _say(group, None if own is None else Told.of(own), None if own is None else PATIENCE_S, waiting)
    except RuntimeError:
        if own is None:
            raise
        raise own from None
    for number, each in enumerate(told):
        if each is not None:
            raise met_at(own or each.error(), _rank_of(group, number))


def _say(group: ProcessGroup, own: Any, patience_s: float | None, waiting: str) -> list[Any]:
    """What all have, each something little. Raises RuntimeError: the others did not come by."""
    import torch
    import torch.distributed as dist

    present = [torch.zeros(1) for _ in range(group.size())]
    work = dist.all_gather(present, torch.zeros(1), group=group, async_op=True)
    assert work is not None
    if waiting:
        _wait_for(work, waiting)
    else:
        work.wait() if patience_s is None else work.wait(timedelta(seconds=patience_s))
    everything: list[Any] = [None] * group.size()
    dist.all_gather_object(everything, own, group=group)
    return everything


def _receive(group: ProcessGroup, value: Any) -> Any:
    """The value of the first process: arrays as they are, be it one or a tuple with some, the rest through pickle."""
    import numpy as np
    import torch
    import torch.distributed as dist

    first, is_first = _rank_of(group, 0), group.rank() == 0
    parts = list(value) if isinstance(value, tuple) else [value]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    told = [_Array(part.shape, part.dtype) if isinstance(part, np.ndarray) else part for part in parts]
    message: list[Any] = [(told, isinstance(value, tuple)) if is_first else None]
    dist.broadcast_object_list(message, first, group=group, device=torch.device("cpu"))
    told, is_tuple = message[0]
    made = []
    for part in told:
        if isinstance(part, _Array):
            array = np.ascontiguousarray(arrays.pop(0)) if is_first else np.empty(part.shape, part.dtype)
            if array.size:
                writable = array if array.flags.writeable else array.copy()
                dist.broadcast(torch.from_numpy(writable.reshape(-1).view(np.uint8)), first, group=group)
            part = array
        made.append(part)
    if is_first:
        return value
    return tuple(made) if is_tuple else made[0]


@dataclass(frozen=True)
class Told:
    """An error as others are told of it: its class may be known to one process alone, or not go through pickle."""

    kind: str
    text: str
    problems: tuple[Problem, ...] = ()
    exit_code: int = 1
    title: str = ""

    @classmethod
    def of(cls, error: Exception) -> Told:
        known = [kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _KINDS]
        if isinstance(error, CosmosError):
            return cls(known[0], str(error), tuple(error.problems), error.exit_code, error.title)
        if known:  # what callers tell by its class or its words
            return cls(known[0], str(error))
        return cls("CosmosError", "", (Problem(f"{type(error).__name__}: {error}"),), title=CosmosError.title)

    def error(self) -> Exception:
        if not self.problems:
            return self._error_of_torch()
        error = _KINDS[self.kind].from_problems(self.problems)
        error.exit_code, error.title = self.exit_code, self.title
        return error

    def _error_of_torch(self) -> Exception:
        import torch

        kind = torch.OutOfMemoryError if self.kind == "OutOfMemoryError" else RuntimeError
        return kind(self.text)


_KINDS: dict[str, Any] = {
    **{kind.__name__: kind for kind in (InputError, GuardrailBlocked, CheckpointError, DiskFull, CosmosError)},
    "OutOfMemoryError": None,
    "RuntimeError": None,
}
"""Errors that others raise as what they are; None for those that are no CosmosError."""
