"""Which device and which precision a network runs in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cosmos_cli.errors import InputError


def choose_device(name: str) -> torch.device:
    """The device called "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:1".

    Raises:
        InputError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"{name!r} is not a device.", where="--device", fix="Use auto, cpu, cuda or cuda:1."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device is visible here.", where="--device", fix="Use --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"{name} does not exist; there are {torch.cuda.device_count()} CUDA devices.", where="--device"
        )
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype called "bfloat16" or "float32"; "auto" is what the published models run in, except on a CPU.

    A CPU computes bfloat16 more slowly than float32, and float32 loses nothing.
    """
    if precision == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[precision]


@contextmanager
def one_core_left(device: torch.device) -> Iterator[None]:
    """Have torch leave a core to other threads while it computes on the CPU itself.

    Its threads wait for each other at every operation: one that has to share a core holds up all.
    """
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(max(1, min(before, num_cores() - 1)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def num_cores() -> int:
    """Cores that this process may use: containers and Slurm give fewer than the machine has; macOS cannot tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
