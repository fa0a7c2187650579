"""Saving and leaving when a scheduler or a person asks for it: SIGTERM, SIGUSR1, SIGHUP and Ctrl-C.

Entered around the whole command, in the launcher and in its workers alike, so that nothing comes too early:

    with Stopping() as stopping, spread(num_gpus, device):
        for step in range(...):
            ...
            if stopping.asked():
                break
    raise typer.Exit(stopping.exit_code)
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

from cosmos_cli import interrupts, output

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch.distributed import ProcessGroup


class Stopping:
    """A block at whose step boundaries all processes find out together whether one of them was asked to stop.

    A second Ctrl-C ends the process at once; see `interrupts.asking`.
    """

    def __init__(self) -> None:
        self._asking: interrupts.Asking | None = None
        self._block: AbstractContextManager[interrupts.Asking] | None = None
        self._groups: list[tuple[Any, ProcessGroup]] = []
        self._agreed = 0

    def __enter__(self) -> Stopping:
        self._block = interrupts.asking()
        self._asking = self._block.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        assert self._block is not None
        self._block.__exit__(*error)

    def asked(self) -> bool:
        """Whether a signal has come to any of the processes. All of them must call this, and get the same.

        Costs one number over gloo. Once True it stays so.
        """
        if not self._agreed:
            own = 0 if self._asking is None else self._asking.exit_code
            # a person who stops it is not to be overruled by the scheduler that starts it again
            self._agreed = self._largest(own)
            if self._agreed:
                output.status(f"{self._reason()}: this step is the last; saving")
        return bool(self._agreed)

    @property
    def exit_code(self) -> int:
        """Of the command: 0 if nothing asked, 75 if a scheduler shall start it again, 130 if a person stopped it."""
        return self._agreed

    def _reason(self) -> str:
        number = self._asking.signal if self._asking is not None else 0
        return f"{signal.Signals(number).name} has come" if number else "another process was asked to stop"

    def _largest(self, own: int) -> int:
        dist: Any = sys.modules.get("torch.distributed")
        if dist is None or not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
            return own
        import torch

        from cosmos_cli.runtime.workers.agreement import new_groups

        if not self._groups or self._groups[0][0] is not dist.group.WORLD:
            self._groups = [(dist.group.WORLD, *new_groups(1, dist.get_world_size()))]
        number = torch.tensor(own)
        dist.all_reduce(number, dist.ReduceOp.MAX, group=self._groups[0][1])
        return int(number)
