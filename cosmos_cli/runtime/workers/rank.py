"""How this process was started: with which command line, and as which of several workers.

Torch elastic, `torchrun` and Slurm tell the latter in the environment.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cosmos_cli.interrupts import LAUNCHER_VARIABLE

RESTARTS_VARIABLE = "COSMOS_RESTARTS"
"""Variable in which a launcher gives workers what it has said of restarts, one line each."""

_arguments: list[str] = []


def remember(arguments: Sequence[str]) -> None:
    """Keep the arguments of the command that runs now."""
    global _arguments
    _arguments = list(arguments)


def arguments() -> list[str]:
    """Those of the command that runs now."""
    return list(_arguments)


def command() -> list[str]:
    """What to give Python to start the command that runs now once more."""
    start = ["-m", "cosmos_cli"]
    if _arguments == sys.argv[1:]:  # else another program runs it in its own process
        start = sys.orig_argv[1 : len(sys.orig_argv) - len(_arguments)]
    return [*start, *_arguments]


@dataclass(frozen=True)
class Rank:
    """One worker among `world_size`.

    local_rank: its number on its machine.
    master_addr, master_port: where the workers meet.
    launcher: who started it, as messages call it.
    launcher_pid: the `cosmos` process that started it and speaks for it; None under other launchers.
    """

    rank: int
    world_size: int
    local_rank: int
    master_addr: str
    master_port: int
    launcher: str
    launcher_pid: int | None = None

    def environment(self) -> dict[str, str]:
        """The variables from which torch.distributed learns the same."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_RANK": str(self.local_rank),
            "MASTER_ADDR": self.master_addr,
            "MASTER_PORT": str(self.master_port),
        }


def find_rank(variables: Mapping[str, str] | None = None) -> Rank | None:
    """The rank of this process, or None if nobody started it as one of several.

    Args:
        variables: the environment; None for that of this process.
    """
    found = os.environ if variables is None else variables
    return _from_torch(found) or _from_slurm(found)


def num_started() -> int | None:
    """How many workers a launcher has started, of which this process is one; None if nobody started it as one."""
    own = find_rank()
    return None if own is None else own.world_size


def _from_torch(variables: Mapping[str, str]) -> Rank | None:
    numbers = [variables.get(name, "") for name in ("RANK", "WORLD_SIZE", "MASTER_PORT")]
    if not all(number.isdigit() for number in numbers) or "MASTER_ADDR" not in variables:
        return None
    rank, world_size, port = map(int, numbers)
    pid = variables.get(LAUNCHER_VARIABLE)
    return Rank(
        rank=rank,
        world_size=world_size,
        local_rank=int(variables.get("LOCAL_RANK", rank)),
        master_addr=variables["MASTER_ADDR"],
        master_port=port,
        launcher="cosmos" if pid else "torchrun",
        launcher_pid=int(pid) if pid else None,
    )


def _from_slurm(variables: Mapping[str, str]) -> Rank | None:
    # of the step, not of the job: in a batch script of four tasks, what `srun` does not start is alone
    world_size = int(variables.get("SLURM_STEP_NUM_TASKS", 1))
    if world_size == 1 or "SLURM_PROCID" not in variables:
        return None
    # any number does that every task arrives at; two steps of a machine should not meet at one port
    steps = int(variables.get("SLURM_JOB_ID", 0)) * 10 + int(variables.get("SLURM_STEP_ID", 0))
    return Rank(
        rank=int(variables["SLURM_PROCID"]),
        world_size=world_size,
        local_rank=int(variables.get("SLURM_LOCALID", 0)),
        master_addr=variables.get("MASTER_ADDR") or _first_host(variables.get("SLURM_STEP_NODELIST", "localhost")),
        master_port=int(variables.get("MASTER_PORT") or 15000 + steps % 15000),
        launcher="Slurm",
    )


def _first_host(nodes: str) -> str:
    """`gpu[003-010,12],cpu7` -> `gpu003`: rank 0 runs on the first machine."""
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", nodes).partition(",")[0]
