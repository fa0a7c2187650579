"""A process that works along with an actor, which starts it: `python -m cosmos_cli.batch.ray.mate RANK PIPE`."""

from __future__ import annotations

import signal
import sys
from concurrent.futures import Future
from multiprocessing.connection import Connection

from cosmos_cli.batch.ray.conveyor import Conveyor, is_shared
from cosmos_cli.batch.ray.group import Trouble
from cosmos_cli.batch.steps import Step
from cosmos_cli.runtime.workers.worker import end_with_parent


def main(rank: int, pipe: int) -> None:
    """Work along until the actor is gone.

    Args:
        pipe: descriptor of the connection to it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends the actor
    end_with_parent(None, signal.SIGKILL)
    actor, conveyor = Connection(pipe), Conveyor()

    def report(done: Future[Step], key: str | None = None) -> None:
        step = done.result()
        if step.error is not None and not is_shared(step):
            actor.send(Trouble.of(rank, step.error, key))
        elif key is None:
            actor.send(None)

    try:
        import torch.distributed  # noqa: F401  # while the actor does

        opening = actor.recv()
        conveyor.open(lambda: opening.enter(rank)).add_done_callback(report)
        while True:
            item = actor.recv()
            conveyor.take(item).add_done_callback(lambda done, key=item.key: report(done, key))  # type: ignore[misc]
    except (EOFError, OSError):
        signal.raise_signal(signal.SIGKILL)  # its threads may wait for the others for ever


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
