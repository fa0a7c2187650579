"""Which device and which precision a network runs in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch

from cosmos_cli.errors import InputError
from cosmos_cli.runtime.attention import load_backend
from cosmos_cli.runtime.compiling import check_compiler
from cosmos_cli.runtime.host import num_cores
from cosmos_cli.runtime.machine import parse_device
from cosmos_cli.runtime.shortcuts import Shortcuts


def choose_device(name: str) -> torch.device:
    """The device called "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:1"; a GPU always with its number.

    "cuda" is the calling thread's current device: that of a worker is its own.

    Raises:
        InputError: no such device on this machine.
    """
    kind, index = parse_device(name)
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError("no CUDA device is visible here.", where="--device", fix="Use --device cpu.")
    if index is not None and index >= torch.cuda.device_count():
        raise InputError(
            f"{name} does not exist; there are {torch.cuda.device_count()} CUDA devices.", where="--device"
        )
    return torch.device("cuda", torch.cuda.current_device() if index is None else index)


@contextmanager
def computing(device: torch.device, shortcuts: Shortcuts | None = None) -> Iterator[None]:
    """A block in which the calling thread computes on `device`, kernels that ask for no device included.

    Args:
        shortcuts: what this process may do for speed from now on, on a GPU; None changes nothing. On a CPU there are
            none.
    """
    if device.type != "cuda":
        yield
        return
    if shortcuts is not None:
        shortcuts.apply()
    with torch.cuda.device(device):
        yield


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype called "bfloat16" or "float32"; "auto" is what the published models run in, except on a CPU.

    A CPU computes bfloat16 more slowly than float32, and float32 loses nothing.
    """
    if precision == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[precision]


class ComputeSettings(Protocol):
    """What a user says about where and how to compute."""

    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def attention(self) -> str: ...
    @property
    def compile(self) -> bool: ...


def choose_device_and_dtype(settings: ComputeSettings) -> tuple[torch.device, torch.dtype]:
    """Where the networks of a run compute and in which precision; nothing is loaded.

    Raises:
        InputError: there is no such device, or what shall compute attention or compile cannot do so there.
    """
    device = choose_device(settings.device)
    dtype = choose_dtype(settings.precision, device)
    load_backend(settings.attention, device, dtype)
    if settings.compile:
        check_compiler(device)
    return device, dtype


class Cores:
    """The cores of this process, which a computation on the CPU shares with threads that work beside it.

    Torch keeps its number of threads, whoever works beside it: with another one, networks round differently in some
    places, and a request would not give the same bytes alone and in a batch. Other libraries leave it the cores.
    """

    def __init__(self) -> None:
        self._here = threading.local()
        self._num_at_work, self._lock = 0, threading.Lock()

    @contextmanager
    def taken(self, device: torch.device) -> Iterator[None]:
        """A core for the calling thread, inside the block.

        Args:
            device: what others compute on; a GPU leaves all cores.
        """
        if device.type != "cpu":
            yield
            return
        self._here.is_guest = True
        try:
            yield
        finally:
            self._here.is_guest = False

    @property
    def here(self) -> int:
        """How many cores are the calling thread's: all, unless another thread computes meanwhile."""
        is_guest = getattr(self._here, "is_guest", False)
        return 1 if is_guest and self._num_at_work else num_cores()

    @contextmanager
    def at_work(self, device: torch.device, num_threads: int) -> Iterator[None]:
        """The calling thread computes inside the block; several may at a time.

        Args:
            num_threads: of torch on a CPU, which keeps a number for each thread that calls it.
        """
        if device.type != "cpu":
            yield
            return
        with self._lock:
            self._num_at_work += 1
        before = torch.get_num_threads()
        torch.set_num_threads(num_threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            with self._lock:
                self._num_at_work -= 1


cores = Cores()
"""Those of this process."""
