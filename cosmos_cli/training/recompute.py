"""Activations that are thrown away in the forward pass and computed again when backward needs them; compiled blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cosmos_cli.models.context_parallel import ParallelNetwork
from cosmos_cli.runtime.compiling import NUM_VARIANTS, check_compiler

_BACKEND = "inductor"


def recompute_activations(trunk: ParallelNetwork, within: Literal["none", "block", "sub-block"]) -> None:
    """Has a network keep only what goes into each block, or into each part of one, in place."""
    if within != "none":
        for module, name in _parts(trunk, by_part=within == "sub-block"):
            setattr(module, name, _recomputed(getattr(module, name)))


def compile_parts(trunk: ParallelNetwork, within: Literal["none", "block", "sub-block"]) -> None:
    """Has what is computed again as one be compiled as one, in place; before `recompute_activations`.

    What gathers parameters and exchanges tokens stays outside, or interrupts the graph.

    Raises:
        InputError: there is no compiler.
    """
    parameter = next(trunk.parameters())
    if _BACKEND == "inductor":
        check_compiler(parameter.device)
    config: Any = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, NUM_VARIANTS)
    for module, name in _parts(trunk, by_part=within == "sub-block"):
        setattr(module, name, torch.compile(getattr(module, name), backend=_BACKEND, dynamic=False))


def _parts(trunk: ParallelNetwork, *, by_part: bool) -> Iterator[tuple[nn.Module, str]]:
    """Modules and their methods that compute a block, or the parts of one."""
    blocks: Any = trunk.blocks
    for block in blocks.children():
        if not by_part:
            yield block, "forward"
        elif isinstance(parts := getattr(block, "blocks", None), nn.ModuleList):
            yield from ((part, "forward") for part in parts)
        else:
            yield block, "part"


def _recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return function(*args, **options)
        # nothing within a block is drawn by chance, so there is no state of a generator to be kept
        return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False, **options)

    return run
