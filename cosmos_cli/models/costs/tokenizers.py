"""What tokenizers cost, added up along the way of a clip through them."""

# C channels

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise

from cosmos_cli.models.configs import CosmosTokenizerConfig, WanVAEConfig
from cosmos_cli.runtime.bounds import WIDE_SCORES_BYTES

_WAN_STEP_FRAMES = 16
"""Frames that the encoder of the Wan tokenizer reads at a time."""


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
