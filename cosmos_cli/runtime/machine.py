"""What this machine has, found out in milliseconds and without torch, and what this process has used so far."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cosmos_cli.errors import InputError


@dataclass(frozen=True)
class Machine:
    """Where a run would compute.

    name: of the device as its maker calls it; for a CPU with its number of cores.
    device_bytes, device_free_bytes: memory of the GPU, and what of it nobody uses now; of the host for a CPU.
    host_bytes, host_free_bytes: the same of the host.
    """

    kind: Literal["cuda", "cpu"]
    name: str
    device_bytes: int
    device_free_bytes: int
    host_bytes: int
    host_free_bytes: int


@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver sees it."""

    name: str
    total_bytes: int
    free_bytes: int


def find_machine(device: str) -> Machine:
    """This machine with the device called "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:1".

    Raises:
        InputError: no such device on this machine.
    """
    host_bytes, host_free_bytes = _host_memory()
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not index.isdigit()):
        raise InputError(f"{device!r} is not a device.", where="--device", fix="Use auto, cpu, cuda or cuda:1.")
    found = find_gpus() if kind != "cpu" and _torch_has_cuda() else []
    if kind == "cuda" and int(index or 0) >= len(found):
        raise InputError(
            f"{device} does not exist; there are {len(found)} CUDA devices.", where="--device", fix="Use --device cpu."
        )
    if found:
        gpu = found[int(index or 0)]
        return Machine("cuda", gpu.name, gpu.total_bytes, gpu.free_bytes, host_bytes, host_free_bytes)
    return Machine("cpu", _cpu_name(), host_bytes, host_free_bytes, host_bytes, host_free_bytes)


def find_gpus() -> list[Gpu]:
    """The GPUs that a process started here would see, in its order; none without NVIDIA's driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = "--query-gpu=index,uuid,name,memory.total,memory.free"
    try:
        answer = subprocess.run(
            [program, query, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=5, check=True
        )
        rows = [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines() if line.strip()]
        gpus = {row[0]: (row[1], Gpu(row[2], int(row[3]) << 20, int(row[4]) << 20)) for row in rows}
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return []  # a driver that does not answer is none to compute with
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [gpu for _, gpu in gpus.values()]
    chosen = []
    for wanted in visible.split(","):
        matches = [gpu for index, (uuid, gpu) in gpus.items() if wanted.strip() in (index, uuid)]
        if not matches:
            break  # CUDA ignores everything after the first that it does not know
        chosen += matches
    return chosen


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
    """The most GPU memory that tensors of this process have taken; None without a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return int(torch.cuda.max_memory_allocated())


def _torch_has_cuda() -> bool:
    try:
        return not importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else os.uname().machine}, {len(os.sched_getaffinity(0))} cores"


def _host_memory() -> tuple[int, int]:
    """Total and available bytes; a container's own limit where it has one."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    sizes = {words[0].rstrip(":"): int(words[1]) << 10 for words in lines}
    total, available = sizes["MemTotal"], sizes["MemAvailable"]
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no container, or one without a limit, which reads "max"
        return total, available
    return min(total, limit), min(available, max(0, limit - used))
