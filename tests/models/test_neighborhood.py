"""Neighbourhood attention against a mask built query by query from the published rule."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cosmos_cli.models import neighborhood
from cosmos_cli.models.configs import NeighborhoodConfig
from cosmos_cli.models.neighborhood import neighborhood_attention
from cosmos_cli.runtime.memory.offload import release_memory

BASE = (-1, 44, 80)
# The five patterns of the published sparse networks.
PATTERNS = {
    "A": NeighborhoodConfig((-1, 4, 16), (1, 1, 1), (1, 11, 5), BASE),
    "B": NeighborhoodConfig((-1, 12, 16), (1, 4, 1), (1, 1, 5), BASE),
    "C": NeighborhoodConfig((-1, 12, 24), (1, 4, 8), (1, 1, 1), BASE),
    "D": NeighborhoodConfig((-1, 20, 40), (1, 4, 8), (1, 1, 1), BASE),
    "E": NeighborhoodConfig((-1, 28, 56), (1, 4, 8), (1, 1, 1), BASE),
}


def visible(i: int, n: int, w: int, s: int, d: int) -> set[int]:
    """The keys of query i along one axis of n positions, by NATTEN's rule."""
    r, g = i % d, i // d
    ng = math.ceil((n - r) / d)
    leader = min((g // s) * s + s // 2, ng - 1)
    left, right = w // 2, w // 2 + w % 2 - 1
    start = max(leader - left, 0)
    if leader + right >= ng:
        start += ng - right - leader - 1
    return {r + d * local for local in range(start, start + w)}


def masked_attention(q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int, int], config: NeighborhoodConfig) -> Tensor:
    axes = list(zip(grid, config.window, config.stride, config.dilation, strict=True))
    masks = [torch.tensor([[j in visible(i, n, w, s, d) for j in range(n)] for i in range(n)]) for n, w, s, d in axes]
    mask = torch.einsum("ab,cd,ef->acebdf", *(m.int() for m in masks)).reshape(math.prod(grid), -1).bool()
    return F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)), attn_mask=mask).transpose(1, 2)


def qkv(grid: tuple[int, int, int], batch: int = 1) -> Tensor:
    return torch.randn(3, batch, math.prod(grid), 2, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("pattern", "grid"), list(product(PATTERNS, [(2, 44, 20), (3, 11, 13), (2, 22, 40), (2, 9, 17), (5, 4, 3)]))
)
def test_published_patterns_match_the_mask_on_any_grid(pattern, grid):
    q, k, v = qkv(grid)
    config = PATTERNS[pattern]
    out = neighborhood_attention(q, k, v, grid, config)
    torch.testing.assert_close(out, masked_attention(q, k, v, grid, config.on_grid(grid)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "config",
    [
        NeighborhoodConfig((2, 3, 4)),
        NeighborhoodConfig((3, 5, 4), (2, 3, 4), (1, 1, 2)),
        NeighborhoodConfig((4, 2, 3), (1, 2, 3), (1, 3, 3)),
        NeighborhoodConfig((2, 7, 5), (2, 5, 2), (2, 1, 2)),
    ],
)
def test_any_window_stride_and_dilation_match_the_mask(config):
    grid = (4, 7, 11)
    q, k, v = qkv(grid, batch=2)
    out = neighborhood_attention(q, k, v, grid, config)
    torch.testing.assert_close(out, masked_attention(q, k, v, grid, config), atol=1e-5, rtol=0)


def test_small_batches_of_cells_give_the_same(monkeypatch):
    grid, config = (2, 22, 20), PATTERNS["C"]
    q, k, v = qkv(grid)
    at_once = neighborhood_attention(q, k, v, grid, config)
    monkeypatch.setattr(neighborhood, "_MAX_GATHERED_ELEMENTS", 1)
    torch.testing.assert_close(neighborhood_attention(q, k, v, grid, config), at_once, atol=1e-6, rtol=0)


def test_gradients_flow_as_through_the_mask():
    grid, config = (2, 6, 7), NeighborhoodConfig((-1, 3, 4), (1, 2, 3))
    inputs = qkv(grid).requires_grad_()
    target = torch.randn_like(inputs[0])
    (sparse,) = torch.autograd.grad((neighborhood_attention(*inputs, grid, config) * target).sum(), inputs)
    (masked,) = torch.autograd.grad((masked_attention(*inputs, grid, config.on_grid(grid)) * target).sum(), inputs)
    torch.testing.assert_close(sparse, masked, atol=1e-5, rtol=1e-5)


def test_a_single_frame_attends_to_everything():
    grid = (1, 6, 8)
    q, k, v = qkv(grid)
    dense = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)
    torch.testing.assert_close(neighborhood_attention(q, k, v, grid, PATTERNS["C"]), dense)


def test_numbers_scale_with_the_grid_and_stay_possible():
    a, c = PATTERNS["A"], PATTERNS["C"]
    assert c.on_grid((24, 44, 80)) == NeighborhoodConfig((24, 12, 24), (1, 4, 8))
    assert c.on_grid((16, 22, 40)) == NeighborhoodConfig((16, 6, 12), (1, 2, 4))
    assert a.on_grid((16, 22, 40)) == NeighborhoodConfig((16, 2, 8), (1, 1, 1), (1, 6, 2))
    assert a.on_grid((2, 3, 3)) == NeighborhoodConfig((2, 2, 2))


@pytest.mark.parametrize(
    "config", [NeighborhoodConfig((2, 9, 2)), NeighborhoodConfig((2, 4, 2), dilation=(1, 3, 1)),
               NeighborhoodConfig((2, 4, 2), stride=(1, 5, 1))]
)  # fmt: skip
def test_impossible_windows_are_refused(config):
    with pytest.raises(ValueError, match="does not fit an axis of 8 patches"):
        config.on_grid((4, 8, 8))


def test_the_grid_must_hold_all_tokens():
    with pytest.raises(ValueError, match="do not fill a grid"):
        neighborhood_attention(*qkv((2, 3, 4)), (2, 3, 5), PATTERNS["C"])


def test_indices_are_made_once_for_each_grid_and_go_with_the_memory_of_a_model(monkeypatch):
    grid, config = (2, 22, 40), PATTERNS["C"]
    made = []
    axis_cells = neighborhood.axis_cells
    monkeypatch.setattr(neighborhood, "axis_cells", lambda *numbers: made.append(numbers) or axis_cells(*numbers))
    neighborhood.forget_cells()
    for _ in range(2):
        neighborhood_attention(*qkv(grid), grid, config)
    assert len(made) == 3  # one for each axis
    neighborhood_attention(*qkv((2, 11, 13)), (2, 11, 13), config)
    assert len(made) == 6
    release_memory()
    neighborhood_attention(*qkv(grid), grid, config)
    assert len(made) == 9


def test_indices_of_inference_serve_training_too():
    grid, config = (2, 6, 7), NeighborhoodConfig((-1, 3, 4), (1, 2, 3))
    neighborhood.forget_cells()
    with torch.inference_mode():
        neighborhood_attention(*qkv(grid), grid, config)
    inputs = qkv(grid).requires_grad_()
    neighborhood_attention(*inputs, grid, config).sum().backward()
    assert inputs.grad is not None


def test_indices_of_a_published_network_are_small():
    grid = (24, 44, 80)
    cells = [neighborhood.cells_on(grid, pattern.on_grid(grid), torch.device("cpu")) for pattern in PATTERNS.values()]
    num_bytes = sum(tokens.nbytes for pattern in cells for group in pattern for tokens in group)
    assert num_bytes < 32 << 20
    neighborhood.forget_cells()
