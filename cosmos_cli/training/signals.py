"""Signals that ask a training to stop: it finishes the step, saves, and leaves with a code that schedulers requeue."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import torch

from cosmos_cli import interrupts, output
from cosmos_cli.runtime.workers import worker
from cosmos_cli.training.parallel import Parallel

GO_ON = 75
"""Exit code of a run that was saved and goes on when it is started again (EX_TEMPFAIL)."""


class Stopping:
    """Whether the run was asked to stop, agreed on by all ranks."""

    def __init__(self, parallel: Parallel) -> None:
        self._parallel = parallel
        self._number: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """A block in which SIGTERM, SIGUSR1 and the first Ctrl-C only ask; a second signal ends the process."""
        with interrupts.asked_first(self._note, also=(signal.SIGUSR1,)):
            yield

    def asked(self) -> bool:
        """Whether any rank was asked; every rank must call this, after the same step."""
        own = self._number is not None or worker.is_asked_to_stop()
        return bool(self._parallel.mean(torch.tensor([float(own)])) > 0)

    def _note(self, number: int) -> None:
        self._number = number
        output.status(f"{signal.Signals(number).name}: stopping after this step; once more: at once")
