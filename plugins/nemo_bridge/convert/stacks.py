"""A network as NeMo keeps it: 13 stacks of all blocks and 14 other tensors, one block of one stack at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from cosmos_cli.errors import InputError, Problem
from cosmos_plugins.nemo_bridge.convert.fusing import fuse
from cosmos_plugins.nemo_bridge.convert.keys import (
    IN_BLOCK,
    LAYERS,
    NUM_PARTS,
    OUTSIDE,
    InBlock,
    Rule,
    block_name,
    outside_in_nemo,
)
from cosmos_plugins.nemo_bridge.convert.shapes import Shape, nemo_shapes
from cosmos_plugins.nemo_bridge.convert.sources import HEAD_IN, HEAD_OUT, NemoSource, Source


@dataclass(frozen=True)
class Stack:
    """A tensor of NeMo. row: what it is stacked of; None for those outside of the blocks."""

    name: str
    native: tuple[str, ...]
    shape: Shape
    dtype: torch.dtype
    row: InBlock | None = None

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def num_pieces(self) -> int:
        """Blocks that are written one by one; 1 for what is not stacked."""
        return 1 if self.row is None else self.shape[0]


class Stacks:
    """What a source holds, as NeMo keeps it.

    Args:
        dtype: to convert to; None keeps that of every tensor.
    Raises:
        InputError: tensors that NeMo keeps as one are of different types.
    """

    def __init__(self, source: Source, dtype: torch.dtype | None = None) -> None:
        self._source = source
        self._dtype = dtype
        self.is_dense = _is_dense(source)
        self.tensors = {stack.name: stack for stack in self._list()}

    @property
    def rank(self) -> int:
        """Of the modulation of one part of a block, as NeMo's networks count it."""
        return self._source.variant.rank // (NUM_PARTS if self.is_dense else 1)

    def _list(self) -> Iterator[Stack]:
        source, blocks = self._source, range(self._source.variant.num_blocks)
        shapes = nemo_shapes(source.variant, is_dense=self.is_dense)
        mixed = []
        for entry in OUTSIDE:
            if entry.native in source:
                name = outside_in_nemo(entry.native)
                yield Stack(name, (entry.native,), shapes[name], self._dtype or source.dtype(entry.native))
        for row in IN_BLOCK:
            natives = [block_name(block, name) for block in blocks for name in row.native]
            dtypes = {self._dtype or source.dtype(name) for name in natives}
            if len(dtypes) > 1:
                mixed.append(f"{row.nemo}: {', '.join(sorted(str(d).removeprefix('torch.') for d in dtypes))}")
            name = f"{LAYERS}{row.nemo}"
            yield Stack(name, row.native, shapes[name], dtypes.pop(), row)
        if mixed:
            raise InputError(
                "holds tensors of different types that NeMo keeps as one.",
                where=str(source.path),
                fix="Give one type for all: --dtype bfloat16",
                others=[Problem("\n".join(mixed))],
            )

    def piece(self, stack: Stack, block: int) -> Tensor:
        """A block of a stack; the whole of what is not stacked."""
        if stack.row is None:
            return self._cast(self._outside(stack.native[0]))
        parts = [self._source.tensor(block_name(block, name)) for name in stack.native]
        return self._cast(self._fuse(stack.row.rule, parts))

    def _fuse(self, rule: Rule, parts: list[Tensor]) -> Tensor:
        if self.is_dense and rule is Rule.ROWS:
            return parts[0]
        if self.is_dense and rule is Rule.DIAGONAL:
            return torch.cat(parts)
        return fuse(rule, parts, self._source.variant.num_heads)

    def _outside(self, native: str) -> Tensor:
        weight = self._source.tensor(native)
        if self.is_dense and native == HEAD_IN:
            return weight[: self.rank]
        if self.is_dense and native == HEAD_OUT:
            return weight[:, : self.rank].contiguous()
        return weight

    def _cast(self, tensor: Tensor) -> Tensor:
        return cast(tensor, self._dtype)


def cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """In another type; None keeps its own. Raises InputError: the type ends before some of the numbers."""
    if dtype is None:
        return tensor
    converted, own = tensor.to(dtype), torch.finfo(tensor.dtype)
    if (most := torch.finfo(dtype).max) < own.max and not torch.equal(converted.isfinite(), tensor.isfinite()):
        name, largest = str(dtype).removeprefix("torch."), tensor.nan_to_num(0, 0, 0).abs().max().item()
        raise InputError(
            f"{name} ends at {most:.3g}, and the source holds {largest:.3g}.",
            where="--dtype",
            fix="Pass another type, such as bfloat16, or leave it out.",
        )
    return converted


def _is_dense(source: Source) -> bool:
    """Whether a network has the form that NeMo's training gives: parts share one modulation, and the head is padded.

    Such a network goes back to NeMo as what it was.
    """
    if isinstance(source, NemoSource):
        return source.is_dense
    variant = source.variant
    if variant.rank % NUM_PARTS:
        return False
    (row,) = (row for row in IN_BLOCK if row.rule is Rule.ROWS)
    for block in range(variant.num_blocks):
        first, *others = (source.tensor(block_name(block, name)) for name in row.native)
        if not all(torch.equal(first, other) for other in others):
            return False
    rank = variant.rank // NUM_PARTS
    return not (source.tensor(HEAD_IN)[rank:].any() or source.tensor(HEAD_OUT)[:, rank:].any())
