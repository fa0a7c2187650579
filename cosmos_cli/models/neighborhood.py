"""Neighbourhood attention: every query attends only to a window of tokens around it, in plain PyTorch.

With a stride, neighbouring queries share one window. So the tokens fall into cells, each a block of queries with one
block of keys, and sparse attention becomes ordinary dense attention over a batch of cells: exact, on every device and
with every attention backend, and never more memory than a few cells.
"""

# B batch, L tokens (time-major, then height, then width), H heads, D head width
# n cells, a queries of one cell along an axis, w keys of one cell along an axis

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from cosmos_cli.models.configs import GridTHW, NeighborhoodConfig, triple
from cosmos_cli.runtime.attention import attention
from cosmos_cli.runtime.constants import Constants, forget_with_memory

# Gathered queries, keys, values and results of one batch of cells: 128 MiB in bfloat16.
_MAX_GATHERED_ELEMENTS = 2**26


def neighborhood_attention(
    q_BLHD: Tensor,
    k_BLHD: Tensor,
    v_BLHD: Tensor,
    grid_THW: GridTHW,
    config: NeighborhoodConfig,
    backend: str = "sdpa",
) -> Tensor:
    """Attention of every token to the window around it, (B, L, H, D). A single frame attends to everything.

    Args:
        q_BLHD: queries, L = T * H * W of the grid; likewise keys and values.
        config: the layer's sparsity, adapted here to the grid.
        backend: which dense attention runs inside the cells.
    Raises:
        ValueError: the number of tokens is not the grid's.
    Source: the neighbourhood rule of NATTEN 0.21; Hassani et al. 2025, arXiv:2504.16922.
    """
    if q_BLHD.shape[1] != math.prod(grid_THW):
        raise ValueError(f"{q_BLHD.shape[1]} tokens do not fill a grid of {grid_THW} patches")
    if grid_THW[0] == 1:
        return attention(q_BLHD, k_BLHD, v_BLHD, backend)
    config = config.on_grid(grid_THW)
    if torch.compiler.is_compiling():
        shape = [*grid_THW, *config.window, *config.stride, *config.dilation]
        return _as_one_operator(q_BLHD, k_BLHD, v_BLHD, shape, backend)
    return _attend_in_cells(q_BLHD, k_BLHD, v_BLHD, grid_THW, config, backend)


def _attend_in_cells(
    q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor, grid_THW: GridTHW, config: NeighborhoodConfig, backend: str
) -> Tensor:
    """What `neighborhood_attention` gives, with a config that is adapted to the grid."""
    out_BLHD = torch.empty_like(q_BLHD)
    B, _, H, D = q_BLHD.shape
    for cells in cells_on(grid_THW, config, q_BLHD.device):
        gathered = 2 * B * H * D * (cells.queries_na.shape[1] + cells.keys_nw.shape[1])
        num_cells = max(1, _MAX_GATHERED_ELEMENTS // gathered)
        for queries_na, keys_nw in zip(*(tokens.split(num_cells) for tokens in cells), strict=True):
            queries, keys = queries_na.flatten(), keys_nw.flatten()
            q, k, v = (
                x_BLHD.index_select(1, tokens).view(B * len(queries_na), -1, H, D)
                for x_BLHD, tokens in ((q_BLHD, queries), (k_BLHD, keys), (v_BLHD, keys))
            )
            out_BLHD.index_copy_(1, queries, attention(q, k, v, backend).reshape(B, -1, H, D))
    return out_BLHD


# A compiled network does not look inside: the cells would be hundreds of operations, computed anew in every block.
@torch.library.custom_op(
    "cosmos_attention::neighborhood",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, int[] shape, str backend) -> Tensor",
)
def _as_one_operator(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor, shape: list[int], backend: str) -> Tensor:
    """`_attend_in_cells`; shape: grid, window, stride and dilation, one after the other."""
    grid, window, stride, dilation = (triple(shape[i : i + 3]) for i in range(0, 12, 3))
    return _attend_in_cells(q_BLHD, k_BLHD, v_BLHD, grid, NeighborhoodConfig(window, stride, dilation), backend)


@_as_one_operator.register_fake
def _(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor, shape: list[int], backend: str) -> Tensor:
    return torch.empty_like(q_BLHD)


class Cells(NamedTuple):
    """Cells that hold equally many queries, along one axis or of a grid: numbers of their queries and of their keys."""

    queries_na: Tensor
    keys_nw: Tensor


_cells: Constants[tuple[Cells, ...]] = Constants(maxsize=16)
"""Those of the published patterns take 25 MB for 720p; a network has five of them."""
forget_cells = _cells.clear
forget_with_memory(forget_cells)


def cells_on(grid_THW: GridTHW, config: NeighborhoodConfig, device: torch.device) -> tuple[Cells, ...]:
    """The cells of a grid, numbering its tokens: made in host memory and copied to the device once."""

    numbers = config.window, config.stride, config.dilation

    def make() -> tuple[Cells, ...]:
        axes = [axis_cells(*of_axis) for of_axis in zip(grid_THW, *numbers, strict=True)]
        return tuple(
            Cells(
                _tokens(grid_THW, [cells.queries_na for cells in cells_THW]).to(device),
                _tokens(grid_THW, [cells.keys_nw for cells in cells_THW]).to(device),
            )
            for cells_THW in product(*axes)
        )

    return _cells((grid_THW, numbers, device), make)


def axis_cells(length: int, window: int, stride: int, dilation: int) -> tuple[Cells, ...]:
    """Groups the positions of one axis by the window they see, and the groups by their number of queries.

    A dilation d splits the axis into d interleaved groups. Inside a group, `stride` queries follow the one in their
    middle, whose window is shifted inwards where it would cross an end of the group.
    """
    queries_of_keys: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for position in range(length):
        offset, local = position % dilation, position // dilation
        group_length = math.ceil((length - offset) / dilation)
        leader = min(local // stride * stride + stride // 2, group_length - 1)
        start = min(max(leader - window // 2, 0), group_length - window)
        queries_of_keys[tuple(offset + dilation * (start + i) for i in range(window))].append(position)

    by_size: dict[int, list[tuple[list[int], tuple[int, ...]]]] = defaultdict(list)
    for keys, queries in queries_of_keys.items():
        by_size[len(queries)].append((queries, keys))
    return tuple(
        Cells(torch.tensor([queries for queries, _ in cells]), torch.tensor([keys for _, keys in cells]))
        for cells in by_size.values()
    )


def _tokens(grid_THW: GridTHW, positions_THW: list[Tensor]) -> Tensor:
    """Numbers of the tokens of every cell, (cells, tokens); positions are (cells, positions) per axis."""
    _, height, width = grid_THW
    t, h, w = positions_THW
    numbers = t[:, None, None, :, None, None] * height + h[None, :, None, None, :, None]
    return (numbers * width + w[None, None, :, None, None, :]).flatten(3).flatten(0, 2)
