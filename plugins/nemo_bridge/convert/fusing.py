"""What NeMo puts together of native matrices, and takes apart again, bit by bit the same."""

# h heads, n matrices, d numbers of a head, C columns, D model width, R rank of one part's modulation

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cosmos_plugins.nemo_bridge.convert.keys import NUM_PARTS, Rule


def fuse(rule: Rule, parts: Sequence[Tensor], num_heads: int) -> Tensor:
    """NeMo's tensor of one block out of the native ones."""
    if rule is Rule.HEADS:
        split = [part.unflatten(0, (num_heads, -1)) for part in parts]
        return torch.stack(split, dim=1).flatten(0, 2)
    if rule is Rule.ROWS:
        return torch.cat(list(parts))
    if rule is Rule.DIAGONAL:
        rows, columns = parts[0].shape
        fused = torch.zeros(len(parts) * rows, len(parts) * columns, dtype=parts[0].dtype)
        for number, part in enumerate(parts):
            fused[number * rows : (number + 1) * rows, number * columns : (number + 1) * columns] = part
        return fused
    (part,) = parts
    return part


def part_of(rule: Rule, fused: Tensor, part: int, count: int, num_heads: int, *, is_dense: bool = False) -> Tensor:
    """One of the native tensors out of NeMo's of one block; contiguous, a view where it can be.

    Args:
        count: of native tensors in it.
        is_dense: all parts of a block use the whole modulation, see `is_diagonal`.
    """
    if rule is Rule.HEADS:
        return fused.unflatten(0, (num_heads, count, -1))[:, part].flatten(0, 1).contiguous()
    if rule is Rule.ROWS:
        return fused if is_dense else fused.unflatten(0, (count, -1))[part]
    if rule is Rule.DIAGONAL:
        rows = fused.unflatten(0, (count, -1))[part]
        return rows if is_dense else rows.unflatten(1, (count, -1))[:, part].contiguous()
    return fused


def is_diagonal(fused: Tensor) -> bool:
    """Whether the second matrix of a modulation (9D, 3R) has nothing but zeros beside its three blocks."""
    blocks = fused.unflatten(1, (NUM_PARTS, -1)).unflatten(0, (NUM_PARTS, -1))
    return not any(blocks[i, :, j].any() for i in range(NUM_PARTS) for j in range(NUM_PARTS) if i != j)


def pad_head_in(weight: Tensor, rank: int) -> Tensor:
    """The first matrix (R, D) of the last layer's modulation with rows of zeros, up to a rank."""
    return torch.cat([weight, weight.new_zeros(rank - weight.shape[0], weight.shape[1])])


def pad_head_out(weight: Tensor, rank: int) -> Tensor:
    """The second matrix (2D, R) of the last layer's modulation with columns of zeros, up to a rank."""
    return torch.cat([weight, weight.new_zeros(weight.shape[0], rank - weight.shape[1])], dim=1)
