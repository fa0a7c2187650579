"""A limit on the memory of a device: kept by the allocator on a GPU, simulated on a CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cosmos_cli.errors import InputError
from cosmos_cli.runtime.memory.amounts import format_memory, parse_memory

SIMULATED_LIMIT = "COSMOS_SIMULATED_DEVICE_MEMORY"
"""Variable that gives a CPU the memory of a small device, such as 40MiB."""


class DeviceMemory:
    """Counts what is placed on a device and, with a limit, runs out of memory as a GPU does.

    The limit is a test aid: on a CPU it stands for a device that is not there, and holds for weights, which are
    counted as they are placed, and for the working memory that callers announce. On a GPU there is none, since the
    allocator counts for itself.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.limit_bytes = limit_bytes
        self.num_bytes = 0
        self.peak_bytes = 0

    def take(self, num_bytes: int) -> None:
        """Count bytes as taken.

        Raises:
            torch.OutOfMemoryError: there are not as many left; nothing is taken.
        """
        if self.limit_bytes is not None and self.num_bytes + num_bytes > self.limit_bytes:
            raise torch.OutOfMemoryError(
                f"Simulated device out of memory. Tried to take {format_memory(num_bytes)}; "
                f"{format_memory(self.num_bytes)} of {format_memory(self.limit_bytes)} are taken."
            )
        self.num_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self.num_bytes)

    def give(self, num_bytes: int) -> None:
        """Count bytes as free again."""
        self.num_bytes -= num_bytes

    @contextmanager
    def holding(self, num_bytes: int) -> Iterator[None]:
        """Count bytes as taken inside the block."""
        self.take(num_bytes)
        try:
            yield
        finally:
            self.give(num_bytes)


def limit_device(device: torch.device, budget_bytes: int | None = None) -> DeviceMemory:
    """Hold this process to a budget on a device; None is all that the device has.

    Raises:
        InputError: COSMOS_SIMULATED_DEVICE_MEMORY is no amount of memory.
    """
    if device.type == "cuda":
        if budget_bytes is not None:
            total_bytes = torch.cuda.get_device_properties(device).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, budget_bytes / total_bytes), device)
        return DeviceMemory()
    limits = [budget_bytes, _simulated_limit()]
    return DeviceMemory(min((limit for limit in limits if limit is not None), default=None))


def _simulated_limit() -> int | None:
    text = os.environ.get(SIMULATED_LIMIT)
    if not text:
        return None
    try:
        return parse_memory(text)
    except ValueError as error:
        raise InputError(str(error), where=SIMULATED_LIMIT, fix="Write an amount such as 40MiB, or unset it.") from None
