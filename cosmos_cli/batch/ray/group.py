"""The processes of one machine that make items together with an actor, which is the first of them and alone writes.

Each has a device of its own and the model, is given the same items in the same order, and decides with the others what
could differ. One that dies, or fails by itself, leaves the others waiting for it: then all of them are given up.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cosmos_cli.batch.engines import Load
from cosmos_cli.batch.plan import Item, describe
from cosmos_cli.batch.ray.conveyor import is_shared
from cosmos_cli.batch.steps import Step, Worker
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.stores import copies_folder, keep_copies_in
from cosmos_cli.runtime.workers.agreement import Told
from cosmos_cli.runtime.workers.failures import Ending, first_cause
from cosmos_cli.runtime.workers.layout import one_at_a_time
from cosmos_cli.runtime.workers.rank import Rank
from cosmos_cli.runtime.workers.worker import joined

_HOST = "127.0.0.1"
_GRACE_S = 1.0
"""After the first sign of trouble others follow: who lost contact may tell of it before the dead one is noticed."""

_membership = ExitStack()
"""That of this process in its group, which ends with the process."""


@dataclass(frozen=True)
class Trouble:
    """Why the processes of a group cannot go on together.

    ending: of the one that is the cause. told: its error; None if it died. key: of the item that it was at.
    """

    ending: Ending
    told: Told | None = None
    key: str | None = None

    @classmethod
    def of(cls, rank: int, error: Exception, key: str | None = None) -> Trouble:
        """An error that one process has by itself."""
        named = error if isinstance(error, CosmosError) else CosmosError(describe(error))
        if named is not error:
            named.__cause__ = error  # by which it is told whether another process was gone
        return cls(Ending.of_error(rank, named, step=""), Told.of(error), key)


@dataclass(frozen=True)
class Opening:
    """What every process of a group needs to join it and to load.

    device: its kind, "cuda" or "cpu". copies: folder for those of files in stores. port: where the first of them waits
    for the others.
    """

    load: Load
    requests: Sequence[Any]
    device: str
    size: int
    copies: Path
    port: int

    def enter(self, rank: int, store: Any = None) -> Worker:
        """Join the others, for as long as this process lives, and load; every process must call this.

        Args:
            store: of the first one.
        Raises:
            InputError: the devices are not those of a group, or the model cannot be shared.
            Exception: it cannot be loaded.
        """
        if store is None:
            from torch.distributed import TCPStore

            store = TCPStore(_HOST, self.port, self.size)
        keep_copies_in(self.copies)
        own = Rank(rank, self.size, rank, _HOST, self.port, "Ray")
        _membership.enter_context(joined(own, self.device, store))
        from cosmos_cli.runtime.memory.placement import avoiding_others

        with one_at_a_time(), avoiding_others():
            worker = self.load(self.requests)
        if getattr(getattr(worker, "team", None), "circle", None) is None:
            raise InputError(
                f"{self.size} devices cannot share an item of this model.", where="--num-gpus", fix="Leave it out."
            )
        return worker


class Group:
    """This process, the first of `size`, and its mates."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._mates: list[Connection] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._num_opened, self._all_opened = 0, Future[None]()
        self._seen, self._trouble = list[Trouble](), Future[Trouble]()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the mates; they import what is heavy meanwhile."""
        for rank in range(1, self._size):
            ours, theirs = Pipe()
            self._mates.append(ours)
            # the thread that starts a mate lives as long as that: so Linux ends the mate with this process
            threading.Thread(target=self._watch, args=(rank, ours, theirs), name=f"mate-{rank}", daemon=True).start()

    def load(self, load: Load, requests: Sequence[Any], device: str) -> Worker:
        """The model, loaded in all processes; raises as `Opening.enter` does in this one."""
        if self._size == 1 and device == "cpu":
            return load(requests)
        if self._size == 1:
            from cosmos_cli.runtime.devices import choose_device
            from cosmos_cli.runtime.memory.placement import avoiding_others

            choose_device(device)  # a node may have fewer GPUs than Ray was told: no actor shall take to its CPU
            with avoiding_others():
                return load(requests)
        from torch.distributed import TCPStore

        store = TCPStore(_HOST, 0, self._size, is_master=True, wait_for_workers=False)
        opening = Opening(load, requests, device, self._size, copies_folder(), store.port)
        self.tell(opening)
        return opening.enter(0, store)

    def tell(self, what: Opening | Item[Any]) -> None:
        """Give the mates what this process is at."""
        if self._mates:
            from ray import cloudpickle

            message = cloudpickle.dumps(what)
            for mate in self._mates:
                with contextlib.suppress(OSError):  # it is gone, which its watch tells
                    mate.send_bytes(message)

    def settled(self, own: Future[Step], key: str | None = None, *, all_opened: bool = False) -> Step | Trouble:
        """How far all have come, once this process has come to the end of a step; or why they are given up.

        Args:
            key: of the item. all_opened: wait for the mates too, until they have loaded.
        """
        if self._size == 1:
            return own.result()
        _first_of(own, self._trouble)
        if own.done():
            step = own.result()
            if step.error is not None and not is_shared(step):
                self._fail(Trouble.of(0, step.error, key))
            elif all_opened and step.error is None:
                _first_of(self._all_opened, self._trouble)
                if self._all_opened.done():
                    return step
            else:
                return step
        return self._trouble.result()

    def _watch(self, rank: int, ours: Connection, theirs: Connection) -> None:
        """Thread: start a mate, and listen to it until it is gone."""
        # what is sent there is found as it is here
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", "cosmos_cli.batch.ray.mate", str(rank), str(theirs.fileno())]
        try:
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
        except OSError as error:
            self._fail(Trouble.of(rank, error))
            return
        finally:
            theirs.close()
        with self._lock:
            self._processes.append(process)
        try:
            with contextlib.suppress(EOFError, OSError):
                while True:
                    trouble: Trouble | None = ours.recv()
                    if trouble is None:
                        self._count_opened()
                    else:
                        self._fail(trouble)
        finally:
            process.kill()
            self._fail(Trouble(Ending.read(rank, process.wait(), {}, step="", last_words="")))

    def _count_opened(self) -> None:
        with self._lock:
            self._num_opened += 1
            if self._num_opened == self._size - 1:
                self._all_opened.set_result(None)

    def _fail(self, trouble: Trouble) -> None:
        with self._lock:
            self._seen.append(trouble)
            is_first = len(self._seen) == 1
        if is_first:
            timer = threading.Timer(_GRACE_S, self._give_up)
            timer.daemon = True
            timer.start()

    def _give_up(self) -> None:
        with self._lock:
            seen = list(self._seen)
        cause = first_cause([trouble.ending for trouble in seen])
        for process in self._processes:
            process.kill()  # also one that is stopped
        self._trouble.set_result(next(trouble for trouble in seen if trouble.ending is cause))


def _first_of(*futures: Future[Any]) -> None:
    wait(futures, return_when=FIRST_COMPLETED)
