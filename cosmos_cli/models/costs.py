"""What networks cost before they are built: arithmetic, parameters and working memory, from the numbers of a variant.

Everything here is plain Python, because a plan must not wait for torch. Counted is what runs in matrix products,
attention and convolutions, a multiplication and its addition as two operations; what is done element by element takes
time, but no FLOPs to speak of.
"""

# D model width, C channels; a grid counts patches along time, height and width

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

TEXT_TOKENS = 512
"""Text positions that every network reads, however short the text is."""

HINT_WIDTHS = (16, 16, 32, 32, 96, 96, 256)
"""Widths between a control's tokens and the model's, as in every published control branch."""

_LIVE_TENSORS = {4: 7.5, 2: 12.0}
"""Tensors of tokens x width alive at the worst moment of a block, by bytes per number.

In float32 that is the MLP: input, modulated input, four widths of hidden layer, output. In bfloat16 it is the rotation
of the keys, which counts in float32: input, modulated input, queries, keys and values, and three of twice the size.
"""

Shape = TypeVar("Shape", bound="DiTShape")


@dataclass(frozen=True)
class DiTShape:
    """What of a diffusion transformer's configuration decides its cost; names and defaults are those of `DiTConfig`."""

    model_channels: int
    num_blocks: int
    num_heads: int
    in_channels: int = 16
    out_channels: int = 16
    patch_spatial: int = 2
    patch_temporal: int = 1
    condition_mask: bool = True
    concat_padding_mask: bool = True
    mlp_ratio: float = 4.0
    crossattn_emb_channels: int = 1024
    use_adaln_lora: bool = True
    adaln_lora_dim: int = 256
    max_img_h: int = 240
    max_img_w: int = 240
    max_frames: int = 128
    extra_per_block_abs_pos_emb: bool = False

    @classmethod
    def of(cls: type[Shape], config: Mapping[str, Any], **changes: Any) -> Shape:
        """The shape out of a configuration's arguments, of which those without a cost are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in config.items() if name in known}, **changes)

    @property
    def patch_volume(self) -> int:
        return self.patch_temporal * self.patch_spatial**2

    def grid(self, latents_THW: tuple[int, int, int]) -> tuple[int, int, int]:
        """Patches of a latent clip along time, height and width."""
        frames, height, width = latents_THW
        return frames // self.patch_temporal, height // self.patch_spatial, width // self.patch_spatial

    @property
    def parameters(self) -> int:
        """Numbers that a file of this network holds, but for counters and constants."""
        width = self.model_channels
        channels = self.in_channels + self.condition_mask + self.concat_padding_mask
        total = channels * self.patch_volume * width + self._timestep_weights() + width
        if self.extra_per_block_abs_pos_emb:
            grid = self.grid((self.max_frames, self.max_img_h, self.max_img_w))
            total += sum(grid) * width
        total += self.num_blocks * self._block_weights()
        return total + self._final_weights()

    def text_flops(self, num_tokens: int = TEXT_TOKENS) -> float:
        """Keys and values of one text for all blocks, which are computed once."""
        return 4.0 * num_tokens * self.crossattn_emb_channels * self.model_channels * self.num_blocks

    def text_elements(self, num_tokens: int = TEXT_TOKENS) -> int:
        """Numbers that `text_flops` leaves behind for the whole generation."""
        return 2 * num_tokens * self.model_channels * self.num_blocks

    def pass_flops(
        self,
        grid_THW: tuple[int, int, int],
        *,
        num_texts: int = 1,
        modulations: int = 1,
        keys_per_query: Sequence[float] = (),
    ) -> float:
        """One evaluation of the network on one clip.

        Args:
            num_texts: texts that the tokens attend to, one after the other.
            modulations: noise levels in the clip: 1, or one per latent frame.
            keys_per_query: of the self-attention of each block; empty where all of them are dense.
        """
        tokens, width = math.prod(grid_THW), self.model_channels
        channels = self.in_channels + self.condition_mask + self.concat_padding_mask
        flops = 2.0 * tokens * channels * self.patch_volume * width
        flops += 2.0 * modulations * (self._timestep_weights() - self._timestep_biases())
        for keys in keys_per_query or [tokens] * self.num_blocks:
            flops += self._block_flops(tokens, keys, num_texts, modulations)
        flops += 2.0 * modulations * self._modulation_weights(2)
        return flops + 2.0 * tokens * width * self.patch_volume * self.out_channels

    def live_elements(self, grid_THW: tuple[int, int, int], num_bytes: int) -> float:
        """Numbers alive at the worst moment of an evaluation, without weights and texts.

        Args:
            num_bytes: of a number in the network's precision.
        """
        tokens = math.prod(grid_THW)
        positions = tokens * self.model_channels if self.extra_per_block_abs_pos_emb else 0
        # cosines and sines of half a head's width each, in float32
        rotary = tokens * (self.model_channels // self.num_heads) * 4 / num_bytes
        return tokens * self.model_channels * _LIVE_TENSORS[num_bytes] + positions + rotary

    def _block_flops(self, tokens: int, keys: float, num_texts: int, modulations: int) -> float:
        width = self.model_channels
        hidden = int(width * self.mlp_ratio)
        per_token = 4 * width + 2 * width + 2 * hidden  # self-attention, queries and output of cross-attention, MLP
        linear = 2.0 * tokens * width * per_token
        attention = 4.0 * tokens * width * (keys + num_texts * TEXT_TOKENS)
        return linear + attention + 3 * 2.0 * modulations * self._modulation_weights(3)

    def _block_weights(self) -> int:
        width, context = self.model_channels, self.crossattn_emb_channels
        norms = 4 * (width // self.num_heads)
        attention = 4 * width**2 + 2 * width**2 + 2 * context * width
        return attention + norms + 2 * width * int(width * self.mlp_ratio) + 3 * self._modulation_weights(3)

    def _modulation_weights(self, chunks: int) -> int:
        width, rank = self.model_channels, self.adaln_lora_dim
        return width * rank + rank * chunks * width if self.use_adaln_lora else chunks * width**2

    def _timestep_biases(self) -> int:
        return 0 if self.use_adaln_lora else self.model_channels

    def _timestep_weights(self) -> int:
        width = self.model_channels
        return width**2 + (3 * width**2 if self.use_adaln_lora else width**2) + self._timestep_biases()

    def _final_weights(self) -> int:
        return self._modulation_weights(2) + self.model_channels * self.patch_volume * self.out_channels


@dataclass(frozen=True)
class ControlShape(DiTShape):
    """A control branch: a DiT whose final layer never runs, a hint that is read once, a residual of every block."""

    hint_channels: int = 128

    @property
    def parameters(self) -> int:
        hint = self._hint_embedding() + sum(m * n + n for m, n in self._hint_layers())
        return super().parameters + hint + self.num_blocks * (self.model_channels**2 + self.model_channels)

    def pass_flops(
        self,
        grid_THW: tuple[int, int, int],
        *,
        num_texts: int = 1,
        modulations: int = 1,
        keys_per_query: Sequence[float] = (),
    ) -> float:
        trunk = super().pass_flops(
            grid_THW, num_texts=num_texts, modulations=modulations, keys_per_query=keys_per_query
        )
        tokens, width = math.prod(grid_THW), self.model_channels
        final = 2.0 * modulations * self._modulation_weights(2)
        final += 2.0 * tokens * width * self.patch_volume * self.out_channels
        return trunk - final + 2.0 * tokens * width**2 * self.num_blocks

    def hint_flops(self, grid_THW: tuple[int, int, int]) -> float:
        """The control's tokens, which are computed once."""
        weights = self._hint_embedding() + sum(m * n for m, n in self._hint_layers())
        return 2.0 * math.prod(grid_THW) * weights

    def _hint_embedding(self) -> int:
        return (self.hint_channels + self.concat_padding_mask) * self.patch_volume * self.model_channels

    def _hint_layers(self) -> Iterator[tuple[int, int]]:
        return pairwise((self.model_channels, *HINT_WIDTHS, self.model_channels))


@dataclass(frozen=True)
class MultiViewShape(DiTShape):
    """A network for several views, whose latents stand one view after the other; names are those of `MultiViewConfig`.

    Every token attends to the text of its own view alone, so a pass costs what it does with one text.
    """

    extra_per_block_abs_pos_emb: bool = True
    n_views: int = 6
    n_views_emb: int = 6
    view_condition_dim: int = 6

    @property
    def parameters(self) -> int:
        # the table of views, a line for repeated frames, and their input channels; positions are fixed, not learnt
        grid = self.grid((self.max_frames, self.max_img_h, self.max_img_w))
        views = self.n_views_emb * self.view_condition_dim + 2 * self.view_condition_dim + self._view_embedding()
        return super().parameters + views - sum(grid) * self.model_channels

    def text_flops(self, num_tokens: int = TEXT_TOKENS) -> float:
        return super().text_flops(self.n_views * num_tokens)

    def text_elements(self, num_tokens: int = TEXT_TOKENS) -> int:
        return super().text_elements(self.n_views * num_tokens)

    def pass_flops(
        self,
        grid_THW: tuple[int, int, int],
        *,
        num_texts: int = 1,
        modulations: int = 1,
        keys_per_query: Sequence[float] = (),
    ) -> float:
        one_view = super().pass_flops(
            grid_THW, num_texts=num_texts, modulations=modulations, keys_per_query=keys_per_query
        )
        return one_view + 2.0 * math.prod(grid_THW) * self._view_embedding()

    def _view_embedding(self) -> int:
        return self.view_condition_dim * self.patch_volume * self.model_channels


@dataclass(frozen=True)
class MultiViewControlShape(MultiViewShape, ControlShape):
    """A control branch for several views."""

    hint_channels: int = 16


@dataclass(frozen=True)
class MinimalMultiviewShape(DiTShape):
    """A minimal network for several cameras; names and defaults are those of `MinimalMultiviewDiTConfig`.

    Every token attends to the text of its own view alone, so a pass costs what it does with one text.

    Args:
        n_views: in the latents.
    """

    n_views: int = 7
    n_cameras_emb: int = 7
    view_condition_dim: int = 7

    @property
    def parameters(self) -> int:
        table = self.n_cameras_emb * self.view_condition_dim
        return super().parameters + table + self.view_condition_dim * self.patch_volume * self.model_channels

    def text_flops(self, num_tokens: int = TEXT_TOKENS) -> float:
        return super().text_flops(self.n_views * num_tokens)

    def text_elements(self, num_tokens: int = TEXT_TOKENS) -> int:
        return super().text_elements(self.n_views * num_tokens)


@dataclass(frozen=True)
class ActionShape(DiTShape):
    """A network that actions steer through two small MLPs, which run once per clip; see `ActionDiTConfig`."""

    action_dim: int = 84

    @property
    def parameters(self) -> int:
        width, hidden = self.model_channels, 4 * self.model_channels
        read = self.action_dim * hidden + hidden
        return super().parameters + 2 * read + hidden * 4 * width + 4 * width


@dataclass(frozen=True)
class T5Shape:
    """The encoder half of a T5 model; the defaults are those of T5-11B."""

    d_model: int = 1024
    d_kv: int = 128
    d_ff: int = 65536
    num_layers: int = 24
    num_heads: int = 128
    vocab_size: int = 32128
    relative_attention_num_buckets: int = 32

    @classmethod
    def in_folder(cls, folder: Path) -> T5Shape:
        """The encoder that lies in a folder, or the published one where none does."""
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            return cls(**{field.name: config[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError):
            return cls()

    @property
    def parameters(self) -> int:
        norms = (2 * self.num_layers + 1) * self.d_model
        positions = self.relative_attention_num_buckets * self.num_heads
        return self.vocab_size * self.d_model + positions + norms + self.num_layers * self._layer_weights()

    def flops(self, num_tokens: int = TEXT_TOKENS) -> float:
        """One text, which is always filled up to all its positions."""
        attention = 4.0 * num_tokens**2 * self.num_heads * self.d_kv
        return self.num_layers * (2.0 * num_tokens * self._layer_weights() + attention)

    def live_elements(self, num_tokens: int = TEXT_TOKENS) -> float:
        """Numbers alive at the worst moment: attention scores and their softmax, or the hidden layer."""
        return max(3 * self.num_heads * num_tokens**2, 2 * num_tokens * self.d_ff) + 4 * num_tokens * self.d_model

    def _layer_weights(self) -> int:
        return 4 * self.d_model * self.num_heads * self.d_kv + 2 * self.d_model * self.d_ff


@dataclass
class Walk:
    """One way through a tokenizer, added up layer by layer.

    flops: of the whole clip.
    kept: numbers that causal layers hold from one step to the next.
    live: numbers alive at the worst moment of a step, beside those.
    """

    flops: float = 0.0
    parameters: int = 0
    kept: float = 0.0
    live: float = 0.0

    @property
    def elements(self) -> float:
        """Numbers in memory at the worst moment."""
        return self.kept + self.live

    def hold(self, elements: float) -> None:
        """This many numbers are alive together."""
        self.live = max(self.live, elements)

    def conv(self, n_in: int, n_out: int, taps: int, positions: float) -> None:
        """A convolution with a bias at this many places."""
        self.flops += 2.0 * n_in * n_out * taps * positions
        self.parameters += n_in * n_out * taps + n_out


@dataclass(frozen=True)
class WanVAEShape:
    """What of `WanVAEConfig` decides the cost, with its names and defaults."""

    dim: int = 96
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = (False, True, True)

    @property
    def parameters(self) -> int:
        mixing = 4 * self.z_dim**2 + 2 * self.z_dim + self.z_dim**2 + self.z_dim
        return self.encode(1, 8, 8).parameters + self.decode(1, 8, 8).parameters + mixing

    def encode(self, num_frames: int, height: int, width: int, step_frames: int = 16) -> Walk:
        """Frames to latents. A clip of 1 + 4 n frames passes its first frame alone, then `step_frames` at a time."""
        walk, frames, pixels = Walk(), num_frames, height * width
        step = max(1, min(step_frames, num_frames - 1))
        widths = [self.dim * mult for mult in self.dim_mult]
        _causal(walk, 3, self.dim, frames, step, pixels)
        for level, (n_in, n_out) in enumerate(pairwise([self.dim, *widths])):
            for block in range(self.num_res_blocks):
                _residual(walk, n_in if block == 0 else n_out, n_out, frames, step, pixels)
            if level == len(widths) - 1:
                break
            # the kernels begin one row and one column early
            walk.conv(n_out, n_out, 9, frames * (height // 2 + 1) * (width // 2 + 1))
            height, width = height // 2, width // 2
            pixels = height * width
            if self.temporal_downsample[level]:
                frames, step = 1 + (frames - 1) // 2, max(1, step // 2)
                walk.conv(n_out, n_out, 3, (frames - 1) * pixels)
                walk.kept += n_out * pixels
        _middle(walk, widths[-1], frames, step, pixels)
        _causal(walk, widths[-1], 2 * self.z_dim, frames, step, pixels, normed=True)
        walk.flops += 2.0 * (2 * self.z_dim) ** 2 * frames * pixels
        return walk

    def decode(self, num_latents: int, height: int, width: int) -> Walk:
        """Latents of height x width latent pixels to frames, one latent frame at a time."""
        walk, frames, step, pixels = Walk(), num_latents, 1, height * width
        walk.flops += 2.0 * self.z_dim**2 * frames * pixels
        widths = [self.dim * mult for mult in reversed(self.dim_mult)]
        _causal(walk, self.z_dim, widths[0], frames, step, pixels)
        _middle(walk, widths[0], frames, step, pixels)
        n_in = widths[0]
        for level, n_out in enumerate(widths):
            for block in range(self.num_res_blocks + 1):
                _residual(walk, n_in if block == 0 else n_out, n_out, frames, step, pixels)
            if level == len(widths) - 1:
                break
            alive = n_out * step * pixels
            if self.temporal_downsample[-1 - level]:
                walk.conv(n_out, 2 * n_out, 3, (frames - 1) * pixels)
                if frames > 1:
                    walk.kept += 2 * n_out * pixels
                    alive += 2 * n_out * step * pixels
                    frames, step = 1 + 2 * (frames - 1), 2 * step
            pixels *= 4
            n_in = n_out // 2
            walk.conv(n_out, n_in, 9, frames * pixels)
            walk.hold(alive + n_in * step * pixels + n_out * pixels)
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
    walk.kept += num_past * n_in * pixels
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
    walk.hold(6 * width * step * pixels)
    _residual(walk, width, width, frames, step, pixels)


@dataclass(frozen=True)
class CosmosTokenizerShape:
    """What of `CosmosTokenizerConfig` decides the cost, with its names and defaults; space and time shrink alike."""

    channels: int = 128
    channels_mult: tuple[int, ...] = (2, 4, 4)
    num_res_blocks: int = 2
    z_channels: int = 16
    latent_channels: int = 16
    patch_size: int = 4
    compression: int = 8

    @property
    def parameters(self) -> int:
        return self.encode(1, 8, 8).parameters + self.decode(1, 1, 1).parameters

    def encode(self, num_latents: int, height: int, width: int) -> Walk:
        """One clip of height x width pixels to `num_latents` latent frames, one after the other."""
        walk, halvings = Walk(), self._num_halvings()
        step = 2**halvings
        frames = 1 + (num_latents - 1) * step
        pixels = height * width // self.patch_size**2
        n_in, bands = self.channels, 3 * self.patch_size**3
        # every band of every transform is there twice: as it was and as it becomes
        walk.hold(3 * bands * step * pixels)
        _factorised(walk, bands, n_in, frames, step, pixels)
        for level, mult in enumerate(self.channels_mult):
            n_out = self.channels * mult
            for _ in range(self.num_res_blocks):
                _factorised_residual(walk, n_in, n_out, frames, step, pixels)
                n_in = n_out
            if level < halvings:
                pixels //= 4
                walk.conv(n_out, n_out, 9, frames * pixels)
                frames, step = 1 + (frames - 1) // 2, step // 2
                walk.conv(n_out, n_out, 3, frames * pixels)
                walk.conv(n_out, n_out, 1, frames * pixels)
                walk.kept += n_out * pixels
        _attentive_middle(walk, n_in, frames, pixels)
        walk.parameters += 2 * n_in
        _factorised(walk, n_in, self.z_channels, frames, step, pixels)
        walk.conv(self.z_channels, self.latent_channels, 1, frames * pixels)
        return walk

    def decode(self, num_latents: int, height: int, width: int) -> Walk:
        """`num_latents` latent frames of height x width latent pixels to one clip, one after the other."""
        walk, halvings = Walk(), self._num_halvings()
        frames, step, pixels = num_latents, 1, height * width
        n_in = self.channels * self.channels_mult[-1]
        walk.conv(self.latent_channels, self.z_channels, 1, frames * pixels)
        _factorised(walk, self.z_channels, n_in, frames, step, pixels)
        _attentive_middle(walk, n_in, frames, pixels)
        for level in reversed(range(len(self.channels_mult))):
            n_out = self.channels * self.channels_mult[level]
            for _ in range(self.num_res_blocks + 1):
                _factorised_residual(walk, n_in, n_out, frames, step, pixels)
                n_in = n_out
            if level and len(self.channels_mult) - 1 - level in range(1, halvings + 1):
                frames, step = 1 + 2 * (frames - 1), 2 * step
                walk.conv(n_out, n_out, 3, frames * pixels)
                walk.kept += 2 * n_out * pixels
                pixels *= 4
                walk.conv(n_out, n_out, 9, frames * pixels)
                walk.conv(n_out, n_out, 1, frames * pixels)
                walk.hold(3 * n_out * step * pixels)
        bands = 3 * self.patch_size**3
        walk.parameters += 2 * n_in
        _factorised(walk, n_in, bands, frames, step, pixels)
        walk.hold(3 * bands * step * pixels)
        return walk

    def _num_halvings(self) -> int:
        return (self.compression // self.patch_size).bit_length() - 1


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
    walk.hold(6 * width * pixels)
    _factorised_residual(walk, width, width, frames, 1, pixels)
