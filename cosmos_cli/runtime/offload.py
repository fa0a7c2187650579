"""Networks that are on the device only while they are needed."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def on_device(networks: Iterable[nn.Module], device: torch.device, *, offload: bool) -> Iterator[None]:
    """Have networks on `device` inside the block and, if `offload`, back in host memory after it."""
    moved = list(networks) if offload else []
    for network in moved:
        network.to(device)
    try:
        yield
    finally:
        for network in moved:
            network.to("cpu")
        if moved and device.type == "cuda":
            torch.cuda.empty_cache()  # the next stage's tensors have other sizes


def release_memory() -> None:
    """Give back what a pipeline held that nobody holds any longer, before the next one loads."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
