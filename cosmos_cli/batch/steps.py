"""The work on one item in three steps, and the processes that do it together: what a pipeline offers to a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cosmos_cli import output
from cosmos_cli.runtime.memory.steps import OutOfMemory


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
class Step:
    """How far an item has come: what the last step gave, or the error that ended it."""

    value: Any = None
    error: Exception | None = None
    seconds: float = 0.0
    notices: tuple[str, ...] = ()

    def then(self, work: Callable[[Any], Any], *, in_background: bool = False) -> Step:
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
            return Step(value, error, seconds, tuple(output.notices()))
