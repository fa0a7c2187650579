"""What this machine has, found out in milliseconds and without torch, and what this process has used so far."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cosmos_cli.errors import InputError
from cosmos_cli.runtime.gpus import Gpu, find_gpus
from cosmos_cli.runtime.host import host_memory


@dataclass(frozen=True)
class Machine:
    """Where a run would compute.

    name: of the device as its maker calls it; for a CPU with its number of cores.
    device_bytes, device_free_bytes: memory of the GPU, and what of it nobody uses now; of the host for a CPU.
    host_bytes, host_free_bytes: the same of the host.
    device_share: of the GPU's multiprocessors, less than 1 for a slice (MIG).
    is_sure: False where CUDA may mean another of the GPUs here, see `find_gpus`.
    is_here: False for one that is only planned for, see `in_place_of_this`.
    """

    kind: Literal["cuda", "cpu"]
    name: str
    device_bytes: int
    device_free_bytes: int
    host_bytes: int
    host_free_bytes: int
    device_share: float = 1.0
    is_sure: bool = True
    is_here: bool = True


_other: ContextVar[Machine | None] = ContextVar("other machine", default=None)


@contextlib.contextmanager
def in_place_of_this(gpu: str, num_bytes: int) -> Iterator[None]:
    """Plan for a machine with another GPU: within the block it is what `find_machine` finds.

    Args:
        gpu: its name. num_bytes: of its memory, all of it free.
    """
    token = _other.set(Machine("cuda", gpu, num_bytes, num_bytes, *host_memory(), is_here=False))
    try:
        yield
    finally:
        _other.reset(token)


def parse_device(name: str) -> tuple[Literal["auto", "cpu", "cuda"], int | None]:
    """The kind and the number of the device that a user calls "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        InputError: it is called something else.
    """
    found = re.fullmatch(r"(auto|cpu|cuda)(?:(?<=cuda):([0-9]{1,9}))?", name)
    if found is None:
        raise InputError(f"{name[:40]!r} is not a device.", where="--device", fix="Use auto, cpu, cuda or cuda:1.")
    return found[1], int(found[2]) if found[2] else None  # type: ignore[return-value]  # it matched


def usable_gpus() -> list[Gpu]:
    """The GPUs that the installed PyTorch would compute on; none if it was built for the CPU."""
    return find_gpus() if _torch_has_cuda() else []


def find_machine(device: str) -> Machine:
    """This machine with the device called "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:1".

    Raises:
        InputError: no such device on this machine.
    """
    if (other := _other.get()) is not None:
        return other
    host_bytes, host_free_bytes = host_memory()
    kind, index = parse_device(device)
    found = usable_gpus() if kind != "cpu" else []
    if kind == "cuda" and (index or 0) >= len(found):
        there = f"there are {len(found)} CUDA devices." if found else "no CUDA device is visible here."
        if not _torch_has_cuda():
            there = "the installed PyTorch was built without CUDA."
        raise InputError(f"{device} does not exist; {there}", where="--device", fix="Use --device cpu.")
    if found:
        gpu = found[index or 0]
        host = host_bytes, host_free_bytes
        return Machine("cuda", gpu.name, gpu.total_bytes, gpu.free_bytes, *host, gpu.share, gpu.is_sure)
    return Machine("cpu", _cpu_name(), host_bytes, host_free_bytes, host_bytes, host_free_bytes)


_DRIVER_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/nvmap")
"""Of NVIDIA's driver on a machine of its own, under Windows, and on a board such as Jetson."""


def check_device(device: str) -> None:
    """Refuse a GPU that is certainly not here, at once; where only torch can tell, it is asked later.

    Raises:
        InputError: no such device on this machine.
    """
    kind, _ = parse_device(device)
    if kind == "cuda" and (usable_gpus() or not _torch_has_cuda() or not any(map(os.path.exists, _DRIVER_FILES))):
        find_machine(device)


def process_seconds() -> float:
    """Seconds since this process began."""
    # the name of the program, in parentheses, may hold spaces
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def peak_host_bytes() -> int:
    """The most memory that this process has had, pages of mapped files included."""
    # not getrusage: what a process starts with there is the peak of whoever started it
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) << 10


def peak_device_bytes() -> int | None:
    """The most memory of the calling thread's GPU that tensors of this process have taken; None if it uses no GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())


def torch_version() -> str:
    """Of the installed PyTorch, such as 2.9.1+cu128; empty if there is none."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _torch_has_cuda() -> bool:
    return bool(version := torch_version()) and not version.endswith("+cpu")


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else os.uname().machine}, {len(os.sched_getaffinity(0))} cores"
