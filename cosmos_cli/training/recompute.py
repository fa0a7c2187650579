"""Activations that are thrown away in the forward pass and computed again when the backward pass needs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cosmos_cli.models.context_parallel import ParallelNetwork


def recompute_activations(trunk: ParallelNetwork, within: Literal["none", "block", "sub-block"]) -> None:
    """Has a network keep only what goes into each block, or into each part of one, in place."""
    blocks: Any = trunk.blocks
    for block in blocks.children() if within != "none" else ():
        if within == "block":
            block.forward = _recomputed(block.forward)
        elif isinstance(parts := getattr(block, "blocks", None), nn.ModuleList):
            for part in parts:
                part.forward = _recomputed(part.forward)
        else:
            block.part = _recomputed(block.part)


def _recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return function(*args, **options)
        # nothing within a block is drawn by chance, so there is no state of a generator to be kept
        return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False, **options)

    return run
