"""Sizes of networks that are there, as they lie in a piece of memory."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cosmos_cli.runtime.memory.residence import NetworkSize, aligned


def size_of(network: nn.Module, dtype: torch.dtype | None = None) -> NetworkSize:
    """Of a network whose blocks, if it has any, are its `blocks`.

    Args:
        dtype: that it will have; None takes the one that it has.
    """

    def num_bytes(tensors: Iterable[Tensor]) -> int:
        return sum(
            aligned(each.numel() * (dtype or each.dtype).itemsize) for each in {id(t): t for t in tensors}.values()
        )

    blocks = getattr(network, "blocks", None)
    members = list(blocks.values() if isinstance(blocks, nn.ModuleDict) else blocks or ())
    within = {id(weight) for block in members for weight in block.parameters()}
    trunk = num_bytes(weight for weight in network.parameters() if id(weight) not in within)
    return NetworkSize(trunk, max((num_bytes(block.parameters()) for block in members), default=0), len(members))
