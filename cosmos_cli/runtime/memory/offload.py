"""Networks that are on the device only while they are needed."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

from cosmos_cli.runtime.constants import forget_constants

WORKING_BYTES = 2 << 30
"""What a helper's network is granted beside its weights."""


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


@contextmanager
def helper_at_work(networks: Iterable[nn.Module], device: torch.device, *, offload: bool) -> Iterator[torch.device]:
    """Have the networks of a helper on the device inside the block; gives where they are.

    That is the CPU where a GPU has too little free memory: a helper is slow there, but the run need not fail for it.

    Args:
        offload: whether they return to host memory after the block.
    """
    networks = list(networks)
    where = next(networks[0].parameters()).device
    if where != device and _has_room(networks, device):
        where = device
    for network in networks:
        network.to(where)
    try:
        yield where
    finally:
        if offload and where.type != "cpu":
            for network in networks:
                network.to("cpu")
            torch.cuda.empty_cache()


def _has_room(networks: Iterable[nn.Module], device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return sum(map(module_bytes, networks)) + WORKING_BYTES <= free_bytes


def release_memory() -> None:
    """Give back what a pipeline held that nobody holds any longer, before the next one loads."""
    forget_constants()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def module_bytes(network: nn.Module) -> int:
    """Bytes of the network's parameters and buffers; shared ones count once."""
    return sum(tensor.nbytes for tensor in chain(network.parameters(), network.buffers()))
