"""What the tensors take that a forward pass leaves, and what a backward pass makes of them. No torch here.

The factors below were counted: tensors that live while networks of the published sizes are trained.
"""

# D model width; X tokens of this rank x D, in the networks' precision, and Y text positions x D

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cosmos_cli.models.configs import ControlBranchConfig, DiTConfig, GridTHW
from cosmos_cli.models.costs.dit import cost_of, shared_tokens
from cosmos_cli.training.layout import TrainingLayout
from cosmos_cli.training.recipe import Recipe

_KEPT = {
    "none": {4: (32.2, 5.0), 2: (38.2, 8.0)},
    "block": {4: (1.0, 0.0), 2: (1.0, 0.0)},
    "sub-block": {4: (3.0, 0.0), 2: (3.0, 0.0)},
}
"""How many X and Y a block leaves for the backward pass, by what is computed again and the bytes of a number."""
_AGAIN = {
    "none": {4: [(2.1, 0.0)], 2: [(2.1, 0.0)]},
    "block": {4: [(34.0, 5.0)], 2: [(40.0, 10.0)]},
    "sub-block": {4: [(13.1, 0.0), (7.0, 6.6)], 2: [(16.4, 0.0), (7.0, 13.0)]},
}
"""How many X and Y live beside those while a part is computed again and its gradients are made.

Of the parts of a block the worst counts: one among all tokens, or that between them and the text.
"""
_REPLICATED = 3.0
"""Of the tensors X of a block, how many every rank has whole where ranks share the layers."""
_LAST = 3.0
"""Tensors X that the final layer leaves."""
EDGE = 5.0
"""Tensors of all tokens x D that live where tokens are embedded, before they are shared."""


@dataclass(frozen=True)
class Network:
    """Bytes of a network's tensors.

    learns: False for one that only the gradient passes.
    tokens, all_tokens: X of this rank, and before tokens are shared. patches: its input as patches. text: Y.
    """

    config: DiTConfig
    learns: bool
    tokens: float
    all_tokens: float
    patches: float
    text: float


def networks_of(
    recipe: Recipe,
    trained: DiTConfig,
    frozen: Sequence[DiTConfig],
    layout: TrainingLayout,
    latents_THW: GridTHW,
    num_bytes: int,
) -> list[Network]:
    """All that take part, in the networks' precision."""
    found = []
    for config, learns in [(trained, True), *((config, False) for config in frozen)]:
        width, grid = config.model_channels, cost_of(config).grid(latents_THW)
        all_tokens = math.prod(grid)
        numbers = (
            shared_tokens(grid, layout.cp) * width,
            all_tokens * width,
            all_tokens * config.channels_with_masks * math.prod(config.patch_THW),
            recipe.data.text_tokens * recipe.data.num_views * width,
        )
        found.append(Network(config, learns, *(float(recipe.data.batch_size * n * num_bytes) for n in numbers)))
    return found


def kept_bytes(recipe: Recipe, layout: TrainingLayout, networks: Sequence[Network], num_bytes: int) -> float:
    """What forward leaves for backward."""
    within, kept = recipe.parallel.activation_checkpointing, 0.0
    tensors, texts = _KEPT[within][num_bytes]
    if within == "none":
        tensors, texts = _cut(tensors, layout), texts / layout.tp
    for network in networks:
        num_blocks = network.config.num_blocks - (not network.learns)  # no gradient gets past the first residual
        kept += (num_blocks * tensors + _last(network.config, within)) * network.tokens + network.patches
        kept += num_blocks * texts * network.text
    return kept


def bytes_again(recipe: Recipe, layout: TrainingLayout, networks: Sequence[Network], num_bytes: int) -> float:
    """What backward makes of one part of a network, at the worst of them."""
    return max(
        _cut(tensors, layout) * network.tokens + texts / layout.tp * network.text
        for network in networks
        for tensors, texts in _AGAIN[recipe.parallel.activation_checkpointing][num_bytes]
    )


def _last(config: DiTConfig, within: str) -> float:
    """Tensors X that are kept once: of the final layer, or a branch's residuals and hint, and of the positions."""
    last = 1.0 + config.num_blocks if isinstance(config, ControlBranchConfig) else _LAST
    positions = config.has_learnt_positions + (within != "sub-block") * config.extra_per_block_abs_pos_emb
    return last + positions


def _cut(tensors: float, layout: TrainingLayout) -> float:
    """Tensors of a block that a rank has where ranks share the layers."""
    whole = min(_REPLICATED, tensors)
    return whole + (tensors - whole) / layout.tp
