"""The memory and the cores of the host."""

from __future__ import annotations

import os
from pathlib import Path


def host_memory() -> tuple[int, int]:
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


def num_cores() -> int:
    """Cores that this process may use: containers and Slurm give fewer than the machine has; macOS cannot tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
