"""CUDA as far as PyTorch asks it for numbers: GPUs that are counted and chosen, on which nothing can compute."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
from torch.cuda._utils import _get_device_index


class FakeDriver:
    """The current device of every thread, as CUDA keeps it, and what was asked of which GPU.

    Devices are read by PyTorch's own functions, which refuse a device without a number where CUDA would.

    Args:
        uuids: of the GPUs that this process sees.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, uuids: Sequence[str]) -> None:
        self._here, self._uuids = threading.local(), uuids
        self.waited_for: list[int] = []
        """GPUs whose work was waited for."""
        self.limits: dict[int, float] = {}
        """GPU to the share of its memory that this process may have."""
        self._replaced = monkeypatch
        self.replace("is_available", lambda: bool(uuids))
        self.replace("is_initialized", lambda: True)
        self.replace("device_count", lambda: len(uuids))
        self.replace("current_device", self.current)
        self.replace("set_device", lambda device: self._set(_get_device_index(device)))
        self.replace("_exchange_device", self._exchange)
        self.replace("_maybe_exchange_device", self._exchange)
        self.replace("synchronize", lambda device=None: self.waited_for.append(self._number(device)))
        self.replace("get_device_properties", lambda device=None: self._properties(self._number(device)))
        self.replace("get_device_capability", lambda device=None: (9, 0))
        self.replace("get_device_name", lambda device=None: f"Fake {self._number(device)}")
        self.replace("max_memory_allocated", lambda device=None: 1000 + self._number(device))
        self.replace("set_per_process_memory_fraction", self._limit)
        self.replace("empty_cache", lambda: None)

    def replace(self, name: str, function: object) -> None:
        """Have another function of `torch.cuda`."""
        self._replaced.setattr(torch.cuda, name, function)

    def current(self) -> int:
        """The calling thread's device: the first, until another is chosen."""
        return getattr(self._here, "device", 0)

    def _set(self, index: int) -> None:
        if not 0 <= index < len(self._uuids):
            raise RuntimeError("CUDA error: invalid device ordinal")
        self._here.device = index

    def _exchange(self, index: int) -> int:
        former = self.current()
        if index >= 0:
            self._set(index)
        return former

    def _number(self, device: torch.device | int | None) -> int:
        # these functions take a device without a number as the current one
        index = device.index if isinstance(device, torch.device) else device
        return self.current() if index is None else index

    def _properties(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(uuid=self._uuids[index], total_memory=80 << 30)

    def _limit(self, fraction: float, device: torch.device | int) -> None:
        self.limits[_get_device_index(device)] = fraction
