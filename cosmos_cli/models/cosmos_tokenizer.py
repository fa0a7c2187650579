"""The Cosmos continuous video tokenizer: a causal autoencoder between pixels and the latents of the networks.

One latent frame stands for eight pixel frames (the first for one), one latent pixel for 8 x 8 pixels. The network codes
one clip, with latents as they are; what the diffusion models were trained with is in `chunked_tokenizer.py`.

A clip passes through step by step, its first frame alone and then one latent frame at a time, so memory depends
neither on its length nor on that of the video (see the layers' module). No call builds a graph.

Axis names: B batch, C channel, T latent frames, F pixel frames, H and W height and width.

Source: cosmos-predict1, cosmos_predict1/tokenizer/networks/continuous_video.py (behaviour, parameter names).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosmos_cli.models.configs import CosmosTokenizerConfig
from cosmos_cli.models.cosmos_tokenizer_layers import (
    Downsample,
    FactorisedConv,
    FrameNorm,
    Level,
    Middle,
    Past,
    PointConv,
    Upsample,
    haar_patches,
    haar_pixels,
)


class Encoder(nn.Module):
    """Wavelet bands to `z_channels`, before `CosmosTokenizer.quant_conv`."""

    def __init__(self, config: CosmosTokenizerConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.conv_in = FactorisedConv(config.patch_channels, config.channels)
        self.down = nn.ModuleList()
        in_channels = config.channels
        for level, width in enumerate(config.widths):
            spatial, temporal = config.downsamples(level)
            resample = {"downsample": Downsample(width, spatial, temporal)} if spatial else {}
            self.down.append(Level([in_channels] + [width] * config.num_res_blocks, **resample))
            in_channels = width
        self.mid = Middle(in_channels)
        self.norm_out = FrameNorm(in_channels)
        self.conv_out = FactorisedConv(in_channels, config.z_channels)

    def forward(self, video_BCFHW: Tensor, past: Past) -> Tensor:
        if past.is_first_step:
            # One frame fills a patch by standing still.
            video_BCFHW = video_BCFHW.expand(-1, -1, self.patch_size, -1, -1)
        x_BCTHW = self.conv_in(haar_patches(video_BCFHW, self.patch_size), past)
        for layer in (*self.down, self.mid):
            x_BCTHW = layer(x_BCTHW, past)
        return self.conv_out(F.silu(self.norm_out(x_BCTHW), inplace=True), past)


class Decoder(nn.Module):
    """Latents, after `CosmosTokenizer.post_quant_conv`, to pixels."""

    def __init__(self, config: CosmosTokenizerConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        in_channels = config.widths[-1]
        self.conv_in = FactorisedConv(config.z_channels, in_channels)
        self.mid = Middle(in_channels)
        levels: list[Level] = []
        for level in reversed(range(len(config.widths))):
            width = config.widths[level]
            spatial, temporal = config.upsamples(level)
            resample = {"upsample": Upsample(width, spatial, temporal)} if spatial else {}
            levels.append(Level([in_channels] + [width] * (config.num_res_blocks + 1), **resample))
            in_channels = width
        # The file numbers the levels finest first; the coarsest runs first.
        self.up = nn.ModuleList(reversed(levels))
        self.norm_out = FrameNorm(in_channels)
        self.conv_out = FactorisedConv(in_channels, config.patch_channels)

    def forward(self, latents_BCTHW: Tensor, past: Past) -> Tensor:
        x_BCTHW = self.mid(self.conv_in(latents_BCTHW, past), past)
        for level in reversed(self.up):
            x_BCTHW = level(x_BCTHW, past)
        bands_BCTHW = self.conv_out(F.silu(self.norm_out(x_BCTHW), inplace=True), past)
        video_BCFHW = haar_pixels(bands_BCTHW, self.patch_size)
        return video_BCFHW[:, :, self.patch_size - 1 :] if past.is_first_step else video_BCFHW


class CosmosTokenizer(nn.Module):
    """The network, with the parameter names of the published files; computes in the dtype of its weights.

    Build it on the meta device and load the weights by assignment, which needs no initialisation.
    """

    def __init__(self, config: CosmosTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant_conv = PointConv(config.z_channels, config.latent_channels)
        self.post_quant_conv = PointConv(config.latent_channels, config.z_channels)
        self.decoder = Decoder(config)

    def forward(self, video_BCFHW: Tensor, noise_BCTHW: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode and decode clips, as a function that can be trained.

        Args:
            video_BCFHW: RGB in [-1, 1], 1 + 8 n frames, height and width multiples of 8.
            noise_BCTHW: added to the latents before they are decoded.
        Returns:
            The clips again, and their latents, not normalised, without the noise.
        """
        num_latents = self.num_latent_frames(video_BCFHW.shape[2])
        steps = min(2, num_latents)
        past, latents = Past(num_latents), []
        for piece_BCFHW in video_BCFHW.tensor_split([1], dim=2)[:steps]:
            latents.append(self.quant_conv(self.encoder(piece_BCFHW, past)))
            past.num_done += latents[-1].shape[2]
        latents_BCTHW = torch.cat(latents, dim=2)
        noisy_BCTHW = latents_BCTHW if noise_BCTHW is None else latents_BCTHW + noise_BCTHW
        past, pieces = Past(num_latents), []
        for piece_BCTHW in noisy_BCTHW.tensor_split([1], dim=2)[:steps]:
            pieces.append(self.decoder(self.post_quant_conv(piece_BCTHW), past))
            past.num_done += piece_BCTHW.shape[2]
        return torch.cat(pieces, dim=2), latents_BCTHW

    @property
    def dtype(self) -> torch.dtype:
        return self.quant_conv.conv3d.weight.dtype

    def num_latent_frames(self, num_frames: int) -> int:
        """Latent frames of a clip: its first frame is one, then each 8 frames are.

        Raises:
            ValueError: `num_frames` is not 1 + 8 n.
        """
        num_latents, rest = divmod(num_frames - 1, self.config.temporal_compression)
        if num_frames < 1 or rest:
            raise ValueError(f"a clip of {num_frames} frames: it takes 1 + {self.config.temporal_compression} n.")
        return 1 + num_latents

    def num_frames(self, num_latent_frames: int) -> int:
        """Pixel frames that `num_latent_frames` decode to."""
        return 1 + (num_latent_frames - 1) * self.config.temporal_compression

    @torch.no_grad()
    def encode(self, video_BCFHW: Tensor, latents_per_step: int = 1) -> Tensor:
        """Encode one clip; nothing is sampled.

        Args:
            video_BCFHW: RGB in [-1, 1], 1 + 8 n frames, height and width multiples of 8. Any dtype and device.
            latents_per_step: latent frames that pass through the network together after the first. More costs
                memory and changes the result by rounding only.
        Returns:
            Latents, B C 1+n H/8 W/8, not normalised, in the dtype and on the device of the weights.
        Raises:
            ValueError: a shape or `latents_per_step` is none of the above.
        """
        self.check_video(video_BCFHW)
        num_latents = self.num_latent_frames(video_BCFHW.shape[2])
        pieces = video_BCFHW.split(self.frames_of_steps(num_latents, latents_per_step), dim=2)
        return torch.cat(list(self.encode_steps(pieces, num_latents)), dim=2)

    @torch.no_grad()
    def decode(self, latents_BCTHW: Tensor, latents_per_step: int = 1) -> Tensor:
        """Decode one clip.

        Args:
            latents_BCTHW: as `encode` returns them, any dtype and device.
            latents_per_step: as for `encode`.
        Returns:
            RGB, B 3 F 8H 8W with F = `num_frames(T)`, not clamped to [-1, 1], in the dtype and on the device of the
            weights.
        Raises:
            ValueError: a shape or `latents_per_step` is none of the above.
        """
        self.check_latents(latents_BCTHW)
        num_frames = self.num_frames(latents_BCTHW.shape[2])
        return join_pieces(self.decode_steps(latents_BCTHW, latents_per_step), num_frames)

    @torch.no_grad()
    def encode_steps(self, pieces_BCFHW: Iterable[Tensor], num_latents: int) -> Iterator[Tensor]:
        """The latents of one clip, piece by piece. The pieces are those of `frames_of_steps`."""
        past = Past(num_latents)
        for piece_BCFHW in pieces_BCFHW:
            latents_BCTHW = self.quant_conv(self.encoder(piece_BCFHW.to(self.quant_conv.conv3d.weight), past))
            past.num_done += latents_BCTHW.shape[2]
            yield latents_BCTHW

    @torch.no_grad()
    def decode_steps(self, latents_BCTHW: Tensor, latents_per_step: int = 1) -> Iterator[Tensor]:
        """The frames of one clip, piece by piece: its first, then 8 for each latent frame."""
        num_latents = latents_BCTHW.shape[2]
        past = Past(num_latents)
        for piece_BCTHW in latents_BCTHW.split(_steps(num_latents, latents_per_step), dim=2):
            inputs_BCTHW = self.post_quant_conv(piece_BCTHW.to(self.post_quant_conv.conv3d.weight))
            yield self.decoder(inputs_BCTHW, past)
            past.num_done += piece_BCTHW.shape[2]

    def frames_of_steps(self, num_latents: int, latents_per_step: int) -> list[int]:
        """Pixel frames of each step of a clip: 1, then 8 for each latent frame of the step."""
        first, *others = _steps(num_latents, latents_per_step)
        return [first, *(step * self.config.temporal_compression for step in others)]

    def check_video(self, video_BCFHW: Tensor) -> None:
        """Raise ValueError unless the shape is B 3 F H W with H and W multiples of 8."""
        shape, factor = tuple(video_BCFHW.shape), self.config.spatial_compression
        if len(shape) != 5 or shape[1] != 3 or shape[3] % factor or shape[4] % factor or 0 in shape:
            raise ValueError(f"video has shape {shape}, not (B, 3, F, H, W) with H and W multiples of {factor}.")

    def check_latents(self, latents_BCTHW: Tensor) -> None:
        """Raise ValueError unless the shape is B C T H W with the latents' number of channels."""
        shape, channels = tuple(latents_BCTHW.shape), self.config.latent_channels
        if len(shape) != 5 or shape[1] != channels or 0 in shape:
            raise ValueError(f"latents have shape {shape}, not (B, {channels}, T, H, W).")


def _steps(num_latents: int, latents_per_step: int) -> list[int]:
    """Latent frames of each step of a clip."""
    if latents_per_step < 1:
        raise ValueError(f"latents_per_step is {latents_per_step}, not a positive number.")
    num_full, rest = divmod(num_latents - 1, latents_per_step)
    return [1, *[latents_per_step] * num_full, *([rest] if rest else [])]


def join_pieces(pieces_BCFHW: Iterable[Tensor], num_frames: int) -> Tensor:
    """Join along the frames, each piece written to its place as it comes."""
    video_BCFHW: Tensor | None = None
    start = 0
    for piece_BCFHW in pieces_BCFHW:
        if video_BCFHW is None:
            batch, channels, _, height, width = piece_BCFHW.shape
            video_BCFHW = piece_BCFHW.new_empty(batch, channels, num_frames, height, width)
        video_BCFHW[:, :, start : start + piece_BCFHW.shape[2]] = piece_BCFHW
        start += piece_BCFHW.shape[2]
    assert video_BCFHW is not None
    return video_BCFHW
