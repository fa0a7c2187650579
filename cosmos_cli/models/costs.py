"""What networks cost before they are built: arithmetic, parameters and working memory, from their configurations.

Everything here is plain Python, because a plan must not wait for torch. Counted is what runs in matrix products,
attention and convolutions, a multiplication and its addition as two operations; what is done element by element takes
time, but no FLOPs to speak of.
"""

# D model width, C channels; a grid counts patches along time, height and width

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import overload

from cosmos_cli.models.configs import (
    HINT_WIDTHS,
    ActionDiTConfig,
    ControlBranchConfig,
    CosmosTokenizerConfig,
    DiTConfig,
    GeneralDiTConfig,
    GridTHW,
    MinimalDiTConfig,
    MinimalMultiviewDiTConfig,
    MultiViewConfig,
    MultiViewControlBranchConfig,
    T5EncoderConfig,
    WanVAEConfig,
)
from cosmos_cli.runtime.bounds import WIDE_SCORES_BYTES

TEXT_TOKENS = 512
"""Text positions that every network reads, however short the text is."""

_LIVE_TENSORS = {4: 8.0, 2: 12.0}
"""Tensors of tokens x width alive at the worst moment of a block, by bytes per number.

In float32 that is the MLP: input, modulated input, four widths of hidden layer, output. In bfloat16 it is the rotation
of the keys, which counts in float32: input, modulated input, queries, keys and values, and three of twice the size.
"""

_WAN_STEP_FRAMES = 16
"""Frames that the encoder of the Wan tokenizer reads at a time."""


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


@dataclass(frozen=True)
class T5Cost:
    """What the encoder half of a T5 model costs."""

    config: T5EncoderConfig

    @property
    def num_blocks(self) -> int:
        return self.config.num_layers

    @property
    def block_parameters(self) -> int:
        """Of one block."""
        return self._layer_weights() + 2 * self.config.d_model

    @property
    def parameters(self) -> int:
        config = self.config
        norms = (2 * config.num_layers + 1) * config.d_model
        positions = config.relative_attention_num_buckets * config.num_heads
        return config.vocab_size * config.d_model + positions + norms + config.num_layers * self._layer_weights()

    def flops(self, num_tokens: int = TEXT_TOKENS) -> float:
        """One text, which is always filled up to all its positions."""
        attention = 4.0 * num_tokens**2 * self.config.num_heads * self.config.d_kv
        return self.config.num_layers * (2.0 * num_tokens * self._layer_weights() + attention)

    def live_elements(self, num_tokens: int = TEXT_TOKENS) -> float:
        """Numbers alive at the worst moment: attention scores and their softmax, or the hidden layer."""
        config = self.config
        scores, hidden = 3 * config.num_heads * num_tokens**2, 2 * num_tokens * config.d_ff
        return max(scores, hidden) + 4 * num_tokens * config.d_model

    def _layer_weights(self) -> int:
        config = self.config
        return 4 * config.d_model * config.num_heads * config.d_kv + 2 * config.d_model * config.d_ff


@dataclass
class Walk:
    """One way through a tokenizer, added up layer by layer.

    flops: of the whole clip.
    kept: numbers that causal layers hold from one step to the next.
    live: numbers alive at the worst moment of a step, beside those.
    num_steps: of the clip. In the last of two, layers let go of what little they keep, one after the other.
    """

    num_steps: int = 3
    flops: float = 0.0
    parameters: int = 0
    kept: float = 0.0
    live: float = 0.0

    @property
    def elements(self) -> float:
        """Numbers in memory at the worst moment."""
        return self.kept + self.live

    def hold(self, elements: float) -> None:
        """This many numbers are alive together, beside what layers keep."""
        self.live = max(self.live, elements - (self.kept if self.num_steps == 2 else 0))

    def keep(self, frames: int, elements: float) -> None:
        """A causal layer holds its last frames of this many numbers; after the first step there is but one."""
        self.kept += min(frames, self.num_steps - 1) * elements

    def conv(self, n_in: int, n_out: int, taps: int, positions: float) -> None:
        """A convolution with a bias at this many places."""
        self.flops += 2.0 * n_in * n_out * taps * positions
        self.parameters += n_in * n_out * taps + n_out


class TokenizerCost(ABC):
    """What a tokenizer costs; `tokenizer_cost_of` gives that of every kind."""

    @property
    @abstractmethod
    def parameters(self) -> int: ...

    @property
    @abstractmethod
    def spatial_factor(self) -> int:
        """Pixels per latent pixel, along height and along width."""

    @property
    @abstractmethod
    def temporal_factor(self) -> int:
        """Pixel frames per latent frame, after the first."""

    @abstractmethod
    def encode(self, num_frames: int, height: int, width: int) -> Walk:
        """Frames of height x width pixels to latents."""

    @abstractmethod
    def decode(self, num_latents: int, latent_height: int, latent_width: int) -> Walk:
        """Latents of latent_height x latent_width latent pixels to frames."""

    def latent_frames(self, num_frames: int) -> int:
        """Latent frames of a clip of so many pixel frames."""
        return 1 + (num_frames - 1) // self.temporal_factor


@dataclass(frozen=True)
class WanVAECost(TokenizerCost):
    """The Wan tokenizer: a clip of 1 + 4 n frames passes step by step, its first frame alone."""

    config: WanVAEConfig

    @property
    def spatial_factor(self) -> int:
        return self.config.spatial_factor

    @property
    def temporal_factor(self) -> int:
        return self.config.temporal_factor

    @property
    def parameters(self) -> int:
        channels = self.config.z_dim
        mixing = 4 * channels**2 + 2 * channels + channels**2 + channels
        return self.encode(1, 8, 8).parameters + self.decode(1, 8, 8).parameters + mixing

    def encode(self, num_frames: int, height: int, width: int) -> Walk:
        walk, config = Walk(1 + math.ceil((num_frames - 1) / _WAN_STEP_FRAMES)), self.config
        frames, pixels = num_frames, height * width
        step = max(1, min(_WAN_STEP_FRAMES, num_frames - 1))
        widths = [config.dim * mult for mult in config.dim_mult]
        _causal(walk, 3, config.dim, frames, step, pixels)
        for level, (n_in, n_out) in enumerate(pairwise([config.dim, *widths])):
            for block in range(config.num_res_blocks):
                _residual(walk, n_in if block == 0 else n_out, n_out, frames, step, pixels)
            if level == len(widths) - 1:
                break
            # the kernels begin one row and one column early
            walk.conv(n_out, n_out, 9, frames * (height // 2 + 1) * (width // 2 + 1))
            height, width = height // 2, width // 2
            pixels = height * width
            if config.temporal_downsample[level]:
                frames, step = 1 + (frames - 1) // 2, max(1, step // 2)
                walk.conv(n_out, n_out, 3, (frames - 1) * pixels)
                walk.keep(1, n_out * pixels)
        _middle(walk, widths[-1], frames, step, pixels)
        _causal(walk, widths[-1], 2 * config.z_dim, frames, step, pixels, normed=True)
        walk.flops += 2.0 * (2 * config.z_dim) ** 2 * frames * pixels
        return walk

    def decode(self, num_latents: int, latent_height: int, latent_width: int) -> Walk:
        walk, config = Walk(num_latents), self.config
        frames, step, pixels = num_latents, 1, latent_height * latent_width
        walk.flops += 2.0 * config.z_dim**2 * frames * pixels
        widths = [config.dim * mult for mult in reversed(config.dim_mult)]
        _causal(walk, config.z_dim, widths[0], frames, step, pixels)
        _middle(walk, widths[0], frames, step, pixels)
        n_in = widths[0]
        for level, n_out in enumerate(widths):
            for block in range(config.num_res_blocks + 1):
                _residual(walk, n_in if block == 0 else n_out, n_out, frames, step, pixels)
            if level == len(widths) - 1:
                break
            alive = n_out * step * pixels
            if config.temporal_downsample[-1 - level]:
                walk.conv(n_out, 2 * n_out, 3, (frames - 1) * pixels)
                if frames > 1:
                    walk.keep(2 if num_latents > 2 else 0, n_out * pixels)  # the first step does without
                    alive += 2 * n_out * step * pixels
                    frames, step = 1 + 2 * (frames - 1), 2 * step
            pixels *= 4
            n_in = n_out // 2
            walk.conv(n_out, n_in, 9, frames * pixels)
            # the frames before and after, and of one of them what is enlarged and what becomes of it
            walk.hold(alive + n_in * step * pixels + (n_out + n_in) * pixels)
        _causal(walk, widths[-1], 3, frames, step, pixels, normed=True)
        return walk


def _causal(
    walk: Walk, n_in: int, n_out: int, frames: int, step: int, pixels: int, residual: int = 0, *, normed: bool = False
) -> None:
    """A 3 x 3 x 3 convolution of the Wan tokenizer; the first frame of a clip passes one of its three time steps.

    Of a picture nothing is kept, and there is nothing before it.
    """
    walk.conv(n_in, n_out, 27, (frames - 1 + 1 / 3) * pixels)
    walk.parameters += n_in * normed
    num_past = 2 if frames > 1 else 0
    walk.keep(2, n_in * pixels)
    walk.hold((residual * step + n_in * (step + num_past) + n_out * step) * pixels)


def _residual(walk: Walk, n_in: int, n_out: int, frames: int, step: int, pixels: int) -> None:
    _causal(walk, n_in, n_out, frames, step, pixels, residual=n_in, normed=True)
    _causal(walk, n_out, n_out, frames, step, pixels, residual=n_in, normed=True)
    if n_in != n_out:
        walk.conv(n_in, n_out, 1, frames * pixels)


def _middle(walk: Walk, width: int, frames: int, step: int, pixels: int) -> None:
    _residual(walk, width, width, frames, step, pixels)
    walk.conv(width, 3 * width, 1, frames * pixels)
    walk.conv(width, width, 1, frames * pixels)
    walk.flops += 4.0 * pixels**2 * width * frames
    walk.parameters += width
    walk.hold(6 * width * step * pixels + _score_elements(step, pixels))
    _residual(walk, width, width, frames, step, pixels)


def _score_elements(frames: int, pixels: int) -> float:
    """Attention scores among the pixels of each frame, as numbers of two bytes: of a kernel that holds them all."""
    return min(8 * frames * pixels**2, WIDE_SCORES_BYTES) / 2


@dataclass(frozen=True)
class CosmosTokenizerCost(TokenizerCost):
    """The Cosmos tokenizer, which a clip passes one latent frame after the other."""

    config: CosmosTokenizerConfig

    @property
    def spatial_factor(self) -> int:
        return self.config.spatial_compression

    @property
    def temporal_factor(self) -> int:
        return self.config.temporal_compression

    @property
    def parameters(self) -> int:
        return self.encode(1, 8, 8).parameters + self.decode(1, 1, 1).parameters

    def encode(self, num_frames: int, height: int, width: int) -> Walk:
        walk, config = Walk(), self.config
        step = config.temporal_compression // config.patch_size
        frames = 1 + (self.latent_frames(num_frames) - 1) * step
        pixels = height * width // config.patch_size**2
        n_in, bands = config.channels, config.patch_channels
        # every band of every transform is there twice: as it was and as it becomes
        walk.hold(3 * bands * step * pixels)
        _factorised(walk, bands, n_in, frames, step, pixels)
        for level, n_out in enumerate(config.widths):
            spatial, temporal = config.downsamples(level)
            for _ in range(config.num_res_blocks):
                _factorised_residual(walk, n_in, n_out, frames, step, pixels)
                n_in = n_out
            if spatial:
                pixels //= 4
                walk.conv(n_out, n_out, 9, frames * pixels)
            if temporal:
                frames, step = 1 + (frames - 1) // 2, step // 2
                walk.conv(n_out, n_out, 3, frames * pixels)
                walk.kept += n_out * pixels
            if spatial:
                walk.conv(n_out, n_out, 1, frames * pixels)
        _attentive_middle(walk, n_in, frames, pixels)
        walk.parameters += 2 * n_in
        _factorised(walk, n_in, config.z_channels, frames, step, pixels)
        walk.conv(config.z_channels, config.latent_channels, 1, frames * pixels)
        return walk

    def decode(self, num_latents: int, latent_height: int, latent_width: int) -> Walk:
        walk, config = Walk(), self.config
        frames, step, pixels = num_latents, 1, latent_height * latent_width
        n_in = config.widths[-1]
        walk.conv(config.latent_channels, config.z_channels, 1, frames * pixels)
        _factorised(walk, config.z_channels, n_in, frames, step, pixels)
        _attentive_middle(walk, n_in, frames, pixels)
        for level, n_out in reversed(list(enumerate(config.widths))):
            spatial, temporal = config.upsamples(level)
            for _ in range(config.num_res_blocks + 1):
                _factorised_residual(walk, n_in, n_out, frames, step, pixels)
                n_in = n_out
            if temporal:
                frames, step = 1 + 2 * (frames - 1), 2 * step
                walk.conv(n_out, n_out, 3, frames * pixels)
                walk.kept += 2 * n_out * pixels
            if spatial:
                pixels *= 4
                walk.conv(n_out, n_out, 9, frames * pixels)
                walk.conv(n_out, n_out, 1, frames * pixels)
                walk.hold(3 * n_out * step * pixels)
        bands = config.patch_channels
        walk.parameters += 2 * n_in
        _factorised(walk, n_in, bands, frames, step, pixels)
        walk.hold(3 * bands * step * pixels)
        return walk


def _factorised(walk: Walk, n_in: int, n_out: int, frames: int, step: int, pixels: int, residual: int = 0) -> None:
    """A convolution over space, then one over time, whose window is a copy of what it sees."""
    walk.conv(n_in, n_out, 9, frames * pixels)
    walk.conv(n_out, n_out, 3, frames * pixels)
    walk.kept += 2 * n_out * pixels
    walk.hold((residual * step + (n_in + n_out) * step) * pixels)
    walk.hold(((residual + n_in) * step + n_out * (step + 2) + n_out * step) * pixels)


def _factorised_residual(walk: Walk, n_in: int, n_out: int, frames: int, step: int, pixels: int) -> None:
    walk.parameters += 2 * (n_in + n_out)
    _factorised(walk, n_in, n_out, frames, step, pixels, residual=n_in)
    _factorised(walk, n_out, n_out, frames, step, pixels, residual=n_in)
    if n_in != n_out:
        walk.conv(n_in, n_out, 1, frames * pixels)


def _attentive_middle(walk: Walk, width: int, frames: int, pixels: int) -> None:
    _factorised_residual(walk, width, width, frames, 1, pixels)
    for pairs in (frames * pixels**2, pixels * frames * (frames + 1) / 2):  # over space, over time
        walk.parameters += 2 * width
        for _ in range(4):
            walk.conv(width, width, 1, frames * pixels)
        walk.flops += 4.0 * pairs * width
    walk.kept += 2 * width * frames * pixels
    walk.hold(6 * width * pixels + _score_elements(1, pixels))
    _factorised_residual(walk, width, width, frames, 1, pixels)


def tokenizer_cost_of(config: WanVAEConfig | CosmosTokenizerConfig) -> TokenizerCost:
    """What a tokenizer of this configuration costs."""
    return WanVAECost(config) if isinstance(config, WanVAEConfig) else CosmosTokenizerCost(config)
