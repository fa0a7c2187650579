"""What is done to all gradients of a step, whether parameters are plain, or sharded over meshes of several kinds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

Named = Iterable[tuple[str, nn.Parameter]]


def total_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The norm of all gradients together, of the same bits on all ranks, a float32 scalar; every rank must call this.

    Each rank adds up what it holds; of what other ranks hold too, only its portion.
    """
    by_copies: dict[int, list[Tensor]] = defaultdict(list)
    device = torch.device("cpu")
    for parameter in parameters:
        device = parameter.device
        if parameter.grad is not None:
            by_copies[_num_copies(parameter.grad)].append(_local(parameter.grad))
    total = torch.zeros((), device=device)
    for num_copies, gradients in by_copies.items():
        norms = torch._foreach_norm(gradients, dtype=torch.float32)
        total += torch.stack(norms).square().sum() / num_copies
    if dist.is_initialized():
        # one sum over all ranks, for the copies of a gradient must not be scaled by numbers of different last bits
        dist.all_reduce(total)
    return total.sqrt()


def scale_gradients(parameters: Iterable[nn.Parameter], factor: Tensor | float) -> None:
    """Multiplies every gradient in place."""
    if gradients := _local_gradients(parameters):
        torch._foreach_mul_(gradients, factor)


def clear_non_finite(parameters: Iterable[nn.Parameter]) -> None:
    """Makes entries of gradients that are no finite number 0, in place."""
    for gradient in _local_gradients(parameters):
        torch.nan_to_num_(gradient, nan=0.0, posinf=0.0, neginf=0.0)


def groups(named_parameters: Named) -> list[dict[str, Any]]:
    """Trained parameters in groups that an optimizer can update at once: of one mesh and one dtype.

    The order is that of the first parameter of each, and so the same on all ranks.
    """
    found: dict[Any, list[nn.Parameter]] = defaultdict(list)
    for _, parameter in named_parameters:
        if parameter.requires_grad:
            mesh = parameter.device_mesh if isinstance(parameter, DTensor) else None
            found[mesh, parameter.dtype].append(parameter)
    return [{"params": parameters} for parameters in found.values()]


def _local_gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    return [_local(parameter.grad) for parameter in parameters if parameter.grad is not None]


def _local(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _num_copies(tensor: Tensor) -> int:
    """Ranks that hold the same part of a tensor."""
    if not dist.is_initialized():
        return 1
    num_parts = 1
    if isinstance(tensor, DTensor):
        for size, placement in zip(tensor.device_mesh.shape, tensor.placements, strict=True):
            assert not placement.is_partial(), "this rank holds a summand"
            num_parts *= 1 if placement.is_replicate() else size
    return dist.get_world_size() // num_parts
