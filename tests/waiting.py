"""Waiting for what must come, however loaded the machine is: on conditions, and with more patience than any needs."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 240
"""A test that waits so long fails; one that passes waits no longer than it must."""


def until(found: Callable[[], Any], what: str = "it", *, look_s: float = 0.02) -> Any:
    """What `found` gives as soon as that is true. Raises AssertionError: `what` never came."""
    end = time.monotonic() + PATIENCE_S
    while not (value := found()):
        assert time.monotonic() < end, f"{what} never came"
        time.sleep(look_s)
    return value


def runs(pid: int) -> bool:
    """Whether a process has not ended; one whose parent has not looked yet has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody listens at, and that the system gives to nobody who asks it for any."""
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in range(ephemeral - 1 - os.getpid() % 5000, 1024, -1):
        with contextlib.suppress(OSError), socket.create_server(("localhost", port)):
            return port
    raise AssertionError("no port is free")
