"""What an actor of the Ray engine holds: one loaded model, which makes items one after the other.

It has one device, or several of its node, each with a process that has the model too.

Up to two items are with it at a time: while one is made, the other is prepared or its files are written. Its files wait
beside their names until the driver lets them have those.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cosmos_cli
from cosmos_cli import output
from cosmos_cli.batch.engines import Load
from cosmos_cli.batch.plan import Item
from cosmos_cli.batch.ray.conveyor import Conveyor
from cosmos_cli.batch.ray.group import Group, Trouble
from cosmos_cli.batch.ray.watch import Sign, Signs
from cosmos_cli.errors import CosmosError
from cosmos_cli.files.identity import Identity
from cosmos_cli.files.stores import copies_folder, keep_copies_in
from cosmos_cli.files.transactions import identities, withheld
from cosmos_cli.files.writing import Transaction
from cosmos_cli.runtime.host import num_cores
from cosmos_cli.runtime.machine import torch_version
from cosmos_cli.runtime.memory.steps import STEPS_VARIABLE
from cosmos_cli.runtime.workers.agreement import Told

_SENT = (
    *("COSMOS_", "HF_HUB_", "OMP_", "MKL_", "CUBLAS_", "NVIDIA_TF32", "TORCH_", "PYTORCH_"),
    *("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AZURE_STORAGE_ACCOUNT_NAME", "GOOGLE_CLOUD_PROJECT"),
)
"""Variables by which a run here and one there would differ begin so: where stores are, not who may enter them."""


@dataclass(frozen=True)
class Surroundings:
    """What a process elsewhere must share with this one to make the same.

    num_processes: that share the cores of its machine. num_cpus: that the cluster has of them, 0 if that is not told.
    """

    folder: Path
    variables: Mapping[str, str]
    num_processes: int
    num_cpus: int
    version: str
    copies: Path

    @classmethod
    def here(cls, num_processes: int, num_cpus: int, memory_steps: int) -> Surroundings:
        variables = {name: value for name, value in os.environ.items() if name.startswith(_SENT)}
        variables[STEPS_VARIABLE] = str(memory_steps)
        return cls(Path.cwd(), variables, num_processes, num_cpus, cosmos_cli.__version__, copies_folder())

    @property
    def num_threads(self) -> int | None:
        """Of torch there, its share of the cores; None for as many as it takes by itself."""
        cores = num_cores()
        own = max(1, min(cores, self.num_cpus or cores) // self.num_processes)
        return None if own == cores else own

    def enter(self) -> None:
        """Raises CosmosError: this machine is not like that."""
        if self.version != cosmos_cli.__version__:
            raise CosmosError(
                f"has cosmos {cosmos_cli.__version__}, but the batch was started with {self.version}.",
                fix="Install the same on all nodes.",
            )
        keep_copies_in(self.copies)
        os.environ.pop("OMP_NUM_THREADS", None)  # Ray has set it
        if self.num_threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(self.num_threads)
        os.environ.update(self.variables)
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise CosmosError(
                f"cannot go to {self.folder}, where the batch was started: {error.strerror}.",
                fix="Start it in a folder that all nodes share.",
            ) from error


@dataclass(frozen=True)
class Opened:
    """What an actor tells of the model that it was to load. torch: the version there."""

    notices: tuple[str, ...]
    error: Told | None = None
    torch: str = field(default_factory=torch_version)


@dataclass(frozen=True)
class Made:
    """What an actor tells of an item.

    written: its files, under temporary names. known: what each is, by the name that it is to get.
    result: what its command reports of it.
    """

    seconds: float
    notices: tuple[str, ...]
    error: Told | None = None
    written: Transaction | None = None
    known: Mapping[Path, Identity] | None = None
    result: Mapping[str, Any] | None = None


class Actor:
    """Lives in a process that Ray starts, the first of the group of those that make its items with it.

    Args:
        size: of the group. device: of each of them, "cuda" or "cpu".
    """

    def __init__(self, size: int, device: str) -> None:
        self._device, self._group, self._conveyor = device, Group(size), Conveyor()
        self._taking, self._writing = threading.Lock(), threading.Lock()
        self._signs = Signs()
        output.follow(self._signs.step)

    def sign(self) -> Sign:
        """How far it is, asked in a thread of its own."""
        return self._signs.latest

    def open(self, surroundings: Surroundings, load: Load, requests: Sequence[Any]) -> Opened | Trouble:
        """Load the model, once; whatever goes wrong, another node may do better."""
        try:
            surroundings.enter()
        except Exception as error:
            return Opened((), Told.of(error))
        self._group.start()
        opened = self._conveyor.open(lambda: self._group.load(load, requests, self._device))
        step = self._group.settled(opened, all_opened=True)
        if isinstance(step, Trouble):
            return step
        return Opened(step.notices, Told.of(step.error) if step.error else None)

    def make(self, item: Item[Any]) -> Made | Trouble:
        """Make an item as far as giving names to its files; a thread for each of two items."""

        def write(value: Any) -> tuple[Transaction, dict[Path, Identity], dict[str, Any]]:
            with withheld(item.files) as written:
                result = self._conveyor.worker.write(value)
            return written, identities(written), dict(result.document())

        with self._taking:  # all are given the items in one order
            self._group.tell(item)
            made = self._conveyor.take(item)
        step = self._group.settled(made, item.key)
        del made  # what was made is large
        if isinstance(step, Trouble):
            return step
        with self._writing:
            step = step.then(write)
        if step.error is not None:
            return Made(step.seconds, step.notices, Told.of(step.error))
        return Made(step.seconds, step.notices, None, *step.value)
