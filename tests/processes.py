"""Several processes that talk over gloo on this machine, and what they tell each other."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch.utils._python_dispatch import TorchDispatchMode


def run_together(world_size: int, function: Callable[[], Any], folder: Path) -> list[Any]:
    """What a function returns in each of several processes, in the order of their ranks.

    Args:
        function: of the top level of a module, or a partial of one. It runs on one thread, without gradients, in a
            group of all processes, and returns tensors, numbers and strings in lists and dictionaries.
        folder: an empty folder for what passes between the processes.
    """
    # one process imports torch and splits into the others, which start in no time
    multiprocessing.set_forkserver_preload(["cosmos_cli.training.parallel"])
    torch.multiprocessing.start_processes(
        _process, (world_size, function, folder), nprocs=world_size, start_method="forkserver"
    )
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world_size)]


def _process(rank: int, world_size: int, function: Callable[[], Any], folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size)
    with torch.inference_mode():
        torch.save(function(), folder / f"{rank}.pt")
    dist.destroy_process_group()


class Exchange(NamedTuple):
    """One collective call. num_bytes: what this process sent to others."""

    name: str
    num_bytes: int


class Exchanges(TorchDispatchMode):
    """Records every collective call of the code inside, whoever makes it; all must be over `num_ranks` processes."""

    def __init__(self, num_ranks: int) -> None:
        super().__init__()
        self.num_ranks = num_ranks
        self.calls: list[Exchange] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            name = func.name().removeprefix("c10d::").partition(".")[0]
            if name == "alltoall_base_":
                num_bytes_for_each = args[1].nbytes // self.num_ranks
            elif name == "allgather_":
                num_bytes_for_each = sum(tensor.nbytes for tensor in args[1])
            else:
                raise NotImplementedError(f"what {name} sends")
            self.calls.append(Exchange(name, num_bytes_for_each * (self.num_ranks - 1)))
        return func(*args, **(kwargs or {}))
