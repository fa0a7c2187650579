"""What diffusion transformers and their control branches cost."""

# D model width; a grid counts patches along time, height and width

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import overload

from cosmos_cli.models.configs import (
    HINT_WIDTHS,
    ActionDiTConfig,
    ControlBranchConfig,
    DiTConfig,
    GeneralDiTConfig,
    GridTHW,
    MinimalDiTConfig,
    MinimalMultiviewDiTConfig,
    MultiViewConfig,
    MultiViewControlBranchConfig,
)
from cosmos_cli.models.costs.text import TEXT_TOKENS

_LIVE_TENSORS = {4: 8.0, 2: 12.0}
"""Tensors of tokens x width alive at the worst moment of a block, by bytes per number.

In float32 that is the MLP: input, modulated input, four widths of hidden layer, output. In bfloat16 it is the rotation
of the keys, which counts in float32: input, modulated input, queries, keys and values, and three of twice the size.
"""

_EXCHANGED_TENSORS = 14.0
"""Tensors of a rank's tokens x width while ranks exchange queries, keys and values.

Input, modulated input, the three themselves, and these three times more: stacked, received, and in their new order.
"""


def shared_tokens(grid_THW: GridTHW, cp: int) -> int:
    """Tokens that one of `cp` processes holds: each frame's patches are cut into as many parts."""
    frames, height, width = grid_THW
    return frames * math.ceil(height * width / cp)


@dataclass(frozen=True)
class DiTCost:
    """What a diffusion transformer costs; `cost_of` gives that of every kind."""

    config: DiTConfig

    @property
    def num_blocks(self) -> int:
        return self.config.num_blocks

    @property
    def parameters(self) -> int:
        """Numbers that a file of this network holds, but for counters and constants."""
        return self.num_blocks * self.block_parameters + self._other_parameters()

    @property
    def block_parameters(self) -> int:
        """Those of one block."""
        config, width = self.config, self.config.model_channels
        attention = 4 * width**2 + 2 * width**2 + 2 * config.crossattn_emb_channels * width
        mlp = 2 * width * int(width * config.mlp_ratio)
        return attention + 4 * config.head_dim + mlp + 3 * self._modulation_weights(3)

    def grid(self, latents_THW: GridTHW) -> GridTHW:
        """Patches of a latent clip along time, height and width."""
        frames, height, width = (n // p for n, p in zip(latents_THW, self.config.patch_THW, strict=True))
        return frames, height, width

    def modulations(self, num_latent_frames: int) -> int:
        """Noise levels of a pass: one per latent frame in the minimal networks, a single one in the general ones."""
        return num_latent_frames if isinstance(self.config, MinimalDiTConfig) else 1

    def text_flops(self, num_tokens: int = TEXT_TOKENS) -> float:
        """Keys and values of one text for all blocks, which are computed once."""
        return 4.0 * num_tokens * self.config.crossattn_emb_channels * self.config.model_channels * self.num_blocks

    def text_elements(self, num_tokens: int = TEXT_TOKENS) -> int:
        """Numbers that `text_flops` leaves behind for the whole generation."""
        return 2 * num_tokens * self.config.model_channels * self.num_blocks

    def pass_flops(
        self,
        grid_THW: GridTHW,
        *,
        num_texts: int = 1,
        modulations: int = 1,
        keys_per_query: Sequence[float] = (),
    ) -> float:
        """One evaluation of the network on one clip, or on all views of one scene.

        Args:
            num_texts: texts that every token attends to, one after the other; where each view has its own, that is 1.
            modulations: noise levels in the clip, see `modulations`.
            keys_per_query: of the self-attention of each block; empty where all of them are dense.
        """
        tokens = math.prod(grid_THW)
        flops = self._patch_flops(tokens)
        flops += 2.0 * modulations * self._num_embedders() * (self._timestep_weights() - self._timestep_biases())
        for keys in keys_per_query or [tokens] * self.num_blocks:
            flops += self._block_flops(tokens, keys, num_texts, modulations)
        return flops + self._final_flops(tokens, modulations)

    def live_elements(self, grid_THW: GridTHW, num_bytes: int, *, cp: int = 1) -> float:
        """Numbers alive at the worst moment of an evaluation, without weights and texts.

        Args:
            num_bytes: of a number in the network's precision.
            cp: processes that share the tokens; what they exchange counts.
        """
        config, tokens = self.config, shared_tokens(grid_THW, cp)
        # the embedding itself; and in bfloat16, whose worst moment is inside a block, what it was added to
        num_positions = (2 if num_bytes == 2 else 1) if config.extra_per_block_abs_pos_emb else 0
        positions = num_positions * tokens * config.model_channels
        # cosines and sines of half a head's width each, in float32
        rotary = tokens * config.head_dim * 4 / num_bytes
        live = _LIVE_TENSORS[num_bytes] if cp == 1 else max(_LIVE_TENSORS[num_bytes], _EXCHANGED_TENSORS)
        return tokens * config.model_channels * live + positions + rotary

    def _other_parameters(self) -> int:
        """All but those of the blocks."""
        config, width = self.config, self.config.model_channels
        total = self._patch_weights() + self._num_embedders() * self._timestep_weights() + width + self._final_weights()
        if config.has_learnt_positions:
            total += sum(config.max_grid_THW) * width
        if isinstance(config, GeneralDiTConfig) and not config.affline_emb_norm:
            total -= width
        if isinstance(config, MinimalDiTConfig) and config.projects_text:
            total += ((config.crossattn_proj_in_channels or 0) + 1) * config.crossattn_emb_channels
        return total

    def _patch_flops(self, tokens: int) -> float:
        return 2.0 * tokens * self._patch_weights()

    def _block_flops(self, tokens: int, keys: float, num_texts: int, modulations: int) -> float:
        width = self.config.model_channels
        hidden = int(width * self.config.mlp_ratio)
        per_token = 4 * width + 2 * width + 2 * hidden  # self-attention, queries and output of cross-attention, MLP
        linear = 2.0 * tokens * width * per_token
        attention = 4.0 * tokens * width * (keys + num_texts * TEXT_TOKENS)
        return linear + attention + 3 * 2.0 * modulations * self._modulation_weights(3)

    def _final_flops(self, tokens: int, modulations: int) -> float:
        modulation = self._modulation_weights(2)
        return 2.0 * modulations * modulation + 2.0 * tokens * (self._final_weights() - modulation)

    def _modulation_weights(self, chunks: int) -> int:
        width, rank = self.config.model_channels, self.config.adaln_lora_dim
        return width * rank + rank * chunks * width if self.config.use_adaln_lora else chunks * width**2

    def _num_embedders(self) -> int:
        """Of timesteps."""
        return 1 + (isinstance(self.config, GeneralDiTConfig) and self.config.add_augment_sigma_embedding)

    def _timestep_biases(self) -> int:
        return 0 if self.config.use_adaln_lora else self.config.model_channels

    def _timestep_weights(self) -> int:
        width = self.config.model_channels
        return width**2 + (3 * width**2 if self.config.use_adaln_lora else width**2) + self._timestep_biases()

    def _patch_weights(self) -> int:
        return self.config.channels_with_masks * math.prod(self.config.patch_THW) * self.config.model_channels

    def _final_weights(self) -> int:
        out = math.prod(self.config.patch_THW) * self.config.out_channels
        return self._modulation_weights(2) + self.config.model_channels * out


@dataclass(frozen=True)
class ControlCost(DiTCost):
    """A control branch: a DiT whose final layer never runs, a hint that is read once, a residual of every block."""

    config: ControlBranchConfig

    def hint_flops(self, grid_THW: GridTHW) -> float:
        """The control's tokens, which are computed once."""
        weights = self._hint_embedding() + sum(m * n for m, n in self._hint_layers())
        return 2.0 * math.prod(grid_THW) * weights

    def _other_parameters(self) -> int:
        hint = self._hint_embedding() + sum(m * n + n for m, n in self._hint_layers())
        width = self.config.model_channels
        # projections to the residuals are no part of the blocks, and stay where blocks stream
        return super()._other_parameters() + hint + self.num_blocks * (width**2 + width)

    def _block_flops(self, tokens: int, keys: float, num_texts: int, modulations: int) -> float:
        block = super()._block_flops(tokens, keys, num_texts, modulations)
        return block + 2.0 * tokens * self.config.model_channels**2

    def _final_flops(self, tokens: int, modulations: int) -> float:
        return 0.0

    def _hint_embedding(self) -> int:
        channels = self.config.hint_channels + self.config.concat_padding_mask
        return channels * math.prod(self.config.patch_THW) * self.config.model_channels

    def _hint_layers(self) -> Iterator[tuple[int, int]]:
        return pairwise((self.config.model_channels, *HINT_WIDTHS, self.config.model_channels))


@dataclass(frozen=True)
class MultiViewCost(DiTCost):
    """A network for several views, whose latents stand one view after the other, each with a text of its own."""

    config: MultiViewConfig

    def live_elements(self, grid_THW: GridTHW, num_bytes: int, *, cp: int = 1) -> float:
        # views attend to their texts one by one, and are put together again
        together = shared_tokens(grid_THW, cp) * self.config.model_channels
        return super().live_elements(grid_THW, num_bytes, cp=cp) + together

    def _other_parameters(self) -> int:
        # the table of views, and a line for repeated frames
        rows = self.config.num_view_rows + 2 * self.config.add_repeat_frame_embedding
        return super()._other_parameters() + rows * self.config.view_condition_dim


@dataclass(frozen=True)
class MultiViewControlCost(MultiViewCost, ControlCost):
    """A control branch for several views."""

    config: MultiViewControlBranchConfig


@dataclass(frozen=True)
class MinimalMultiviewCost(DiTCost):
    """A minimal network for several cameras, each with a text of its own."""

    config: MinimalMultiviewDiTConfig

    def _other_parameters(self) -> int:
        return super()._other_parameters() + self.config.n_cameras_emb * self.config.view_condition_dim

    def _patch_flops(self, tokens: int) -> float:
        # without the channels that tell the cameras apart, less than 0.01 % of a pass
        views = self.config.view_condition_dim * math.prod(self.config.patch_THW) * self.config.model_channels
        return super()._patch_flops(tokens) - 2.0 * tokens * views


@dataclass(frozen=True)
class ActionCost(DiTCost):
    """A network that actions steer through two small MLPs, which run once per clip."""

    config: ActionDiTConfig

    def _other_parameters(self) -> int:
        width, hidden = self.config.model_channels, 4 * self.config.model_channels
        read = self.config.action_dim * hidden + hidden
        return super()._other_parameters() + 2 * read + hidden * 4 * width + 4 * width


_COSTS: Mapping[type[DiTConfig], type[DiTCost]] = {
    DiTConfig: DiTCost,
    ControlBranchConfig: ControlCost,
    MultiViewConfig: MultiViewCost,
    MultiViewControlBranchConfig: MultiViewControlCost,
    MinimalMultiviewDiTConfig: MinimalMultiviewCost,
    ActionDiTConfig: ActionCost,
}


@overload
def cost_of(config: ControlBranchConfig) -> ControlCost: ...


@overload
def cost_of(config: DiTConfig) -> DiTCost: ...


def cost_of(config: DiTConfig) -> DiTCost:
    """What a network of this configuration costs."""
    nearest = next(kind for kind in type(config).__mro__ if kind in _COSTS)
    return _COSTS[nearest](config)
