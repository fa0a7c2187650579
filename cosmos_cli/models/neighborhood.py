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
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from cosmos_cli.models.configs import GridTHW, NeighborhoodConfig, triple
from cosmos_cli.runtime.attention import attention

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
    axes = [
        axis_cells(*numbers, q_BLHD.device)
        for numbers in zip(grid_THW, config.window, config.stride, config.dilation, strict=True)
    ]
    out_BLHD = torch.empty_like(q_BLHD)
    B, _, H, D = q_BLHD.shape
    for cells_THW in product(*axes):
        num_cells = math.prod(cells.queries_na.shape[0] for cells in cells_THW)
        num_queries = math.prod(cells.queries_na.shape[1] for cells in cells_THW)
        gathered = 2 * B * H * D * (num_queries + math.prod(config.window))
        for batch in torch.arange(num_cells, device=q_BLHD.device).split(max(1, _MAX_GATHERED_ELEMENTS // gathered)):
            queries = _tokens(grid_THW, [cells.queries_na for cells in cells_THW], batch)
            keys = _tokens(grid_THW, [cells.keys_nw for cells in cells_THW], batch)
            q, k, v = (
                x_BLHD.index_select(1, tokens).view(B * len(batch), -1, H, D)
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


class AxisCells(NamedTuple):
    """Cells along one axis that hold equally many queries: positions of their queries and of their keys."""

    queries_na: Tensor
    keys_nw: Tensor


@lru_cache(maxsize=64)
def axis_cells(
    length: int, window: int, stride: int, dilation: int, device: torch.device | str = "cpu"
) -> tuple[AxisCells, ...]:
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
        AxisCells(
            torch.tensor([queries for queries, _ in cells], device=device),
            torch.tensor([keys for _, keys in cells], device=device),
        )
        for cells in by_size.values()
    )


def _tokens(grid_THW: GridTHW, positions_THW: list[Tensor], batch: Tensor) -> Tensor:
    """Token indices of a batch of cells, one cell after the other; positions are (cells, positions) per axis."""
    _, height, width = grid_THW
    time_n, height_n, width_n = torch.unravel_index(batch, [len(positions) for positions in positions_THW])
    t = positions_THW[0][time_n][:, :, None, None]
    h = positions_THW[1][height_n][:, None, :, None]
    w = positions_THW[2][width_n][:, None, None, :]
    return ((t * height + h) * width + w).flatten()
