"""The Wan 2.1 video tokenizer: a causal VAE between pixels and the latents that the video networks denoise.

One latent frame stands for four pixel frames (the first for one), one latent pixel for 8 x 8 pixels.
Every layer looks only at its own and earlier frames, so a clip of any length passes through in chunks;
what the layers need of the past travels in a `_Past` that belongs to one call. The modules hold weights
and nothing else, so one instance serves any number of calls at once.

Only `forward`, which is for training, builds a graph; all other calls run under `torch.no_grad`, where activations work
in place.

Axis names: B batch, C channel, T frames at any resolution in time, F pixel frames, N frames of all clips of
a batch, H and W height and width. Activations lie channels-last in memory: the convolutions then reorder
nothing, and the sum over channels in the norm is contiguous.

Source: cosmos-predict2 661da47, tokenizers/tokenizer.py; Wan Team 2025, arXiv:2503.20314, section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosmos_cli.models.configs import WanVAEConfig
from cosmos_cli.runtime.attention import wide_attention
from cosmos_cli.runtime.constants import Constants

# Statistics of the latents over the training set, one per latent channel.
LATENT_MEAN = (
    *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
    *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
)
LATENT_STD = (
    *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
    *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
)


# Up to this product of the first four sizes of its input, torch computes conv3d on a CPU several times slower.
_SLOW_CONV3D_ELEMENTS = 20480


def _empty_channels_last(shape_BCTHW: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.empty(shape_BCTHW, dtype=like.dtype, device=like.device, memory_format=torch.channels_last_3d)


@dataclass
class _Past:
    """What one call remembers from chunk to chunk: the last frames that each causal layer saw."""

    is_first_chunk: bool = True
    is_last_chunk: bool = False
    _tails: dict[nn.Module, Tensor] = field(default_factory=dict)

    def pop(self, layer: nn.Module) -> Tensor | None:
        """Hand out, and forget, the frames that `layer` kept of the previous chunk."""
        return self._tails.pop(layer, None)

    def keep(self, layer: nn.Module, tail_BCTHW: Tensor) -> None:
        """Keep `tail_BCTHW` for the next chunk, if there is one."""
        if not self.is_last_chunk:
            # A copy, because a view would keep the whole chunk alive.
            self._tails[layer] = tail_BCTHW.clone()

    def window(self, conv: nn.Module, x_BCTHW: Tensor, norm: nn.Module | None = None) -> Tensor:
        """The input of a causal convolution: two earlier frames (zeros before the clip), then `x_BCTHW`.

        Norm and SiLU, where given, write their result straight into the window. The first frame of a clip,
        when it comes alone, goes without the two zero frames: `CausalConv3d` need not multiply by them.
        """
        tail_BCTHW = self.pop(conv)
        batch, channels, num_frames, height, width = x_BCTHW.shape
        num_past = 0 if tail_BCTHW is None and num_frames == 1 else 2
        if torch.is_grad_enabled():
            x_BCTHW = x_BCTHW if norm is None else F.silu(norm(x_BCTHW))
            return self._joined(conv, tail_BCTHW, x_BCTHW, num_past)
        window_BCTHW = _empty_channels_last((batch, channels, num_past + num_frames, height, width), like=x_BCTHW)
        num_kept = 0 if tail_BCTHW is None else tail_BCTHW.shape[2]
        if tail_BCTHW is not None:
            window_BCTHW[:, :, num_past - num_kept : num_past] = tail_BCTHW
        window_BCTHW[:, :, : num_past - num_kept] = 0
        if norm is None:
            window_BCTHW[:, :, num_past:] = x_BCTHW
        else:
            F.silu(norm(x_BCTHW, out_BCTHW=window_BCTHW[:, :, num_past:]), inplace=True)
        del tail_BCTHW  # before the next one needs memory
        self.keep(conv, window_BCTHW[:, :, -2:])
        return window_BCTHW

    def _joined(self, conv: nn.Module, tail_BCTHW: Tensor | None, x_BCTHW: Tensor, num_past: int) -> Tensor:
        """The window as a function of its parts, which a graph can be built of."""
        parts = [x_BCTHW] if tail_BCTHW is None else [tail_BCTHW, x_BCTHW]
        num_zeros = num_past - (0 if tail_BCTHW is None else tail_BCTHW.shape[2])
        window_BCTHW = F.pad(torch.cat(parts, dim=2), (0, 0, 0, 0, num_zeros, 0))
        window_BCTHW = window_BCTHW.contiguous(memory_format=torch.channels_last_3d)
        self.keep(conv, window_BCTHW[:, :, -2:])
        return window_BCTHW


class RMSNorm(nn.Module):
    """Root-mean-square norm over the channels, computed and rounded in the tensor's own dtype."""

    def __init__(self, channels: int, num_trailing_axes: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * num_trailing_axes))

    def forward(self, x_BCTHW: Tensor, out_BCTHW: Tensor | None = None) -> Tensor:
        length = torch.linalg.vector_norm(x_BCTHW, dim=1, keepdim=True).clamp_min(1e-12)
        # Each step rounds once, in the order of the original: in bfloat16 parity depends on it.
        normed_BCTHW = torch.div(x_BCTHW, length, out=out_BCTHW)
        return normed_BCTHW.mul_(x_BCTHW.shape[1] ** 0.5).mul_(self.gamma.view(-1, 1, 1, 1))


class CausalConv3d(nn.Conv3d):
    """A convolution over time and space whose output frame depends on its own and the two earlier input frames.

    It takes a window from `_Past.window`, T + 2 frames for T, or the clip's first frame alone.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: tuple[int, int, int]) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=(0, kernel_size[1] // 2, kernel_size[2] // 2))

    def forward(self, window_BCTHW: Tensor) -> Tensor:
        if window_BCTHW.shape[2] == 1:
            frame_BCHW = F.conv2d(window_BCTHW[:, :, 0], self.weight[:, :, -1], self.bias, padding=self.padding[1:])
            return frame_BCHW.unsqueeze(2)
        is_small = window_BCTHW[..., 0].numel() <= _SLOW_CONV3D_ELEMENTS
        # backward, the one convolution is the faster way
        if is_small and window_BCTHW.device.type == "cpu" and not torch.is_grad_enabled():
            return self._sum_of_frames(window_BCTHW)
        return super().forward(window_BCTHW)

    def _sum_of_frames(self, window_BCTHW: Tensor) -> Tensor:
        """The same as three convolutions over space, one for each frame that an output frame depends on."""
        batch, _, num_frames, _, _ = window_BCTHW.shape
        frames_BTCHW = window_BCTHW.transpose(1, 2)
        total: Tensor | None = None
        for tap, weight in enumerate(self.weight.unbind(2)):
            frames_NCHW = frames_BTCHW[:, tap : num_frames - 2 + tap].flatten(0, 1)
            part_NCHW = F.conv2d(
                frames_NCHW, weight, None if total is not None else self.bias, padding=self.padding[1:]
            )
            total = part_NCHW if total is None else total.add_(part_NCHW)
        assert total is not None
        return total.unflatten(0, (batch, num_frames - 2)).transpose(1, 2)


class NormConvs(nn.Module):
    """Norm, SiLU and a 3 x 3 x 3 causal convolution, as often as there is a next width."""

    # Where the checkpoint counts them; the numbers left out are activations and a dropout.
    _NUMBERS = (("0", "2"), ("3", "6"))

    def __init__(self, *widths: int) -> None:
        super().__init__()
        for (norm, conv), (in_channels, out_channels) in zip(self._NUMBERS, pairwise(widths), strict=False):
            self.add_module(norm, RMSNorm(in_channels))
            self.add_module(conv, CausalConv3d(in_channels, out_channels, (3, 3, 3)))

    def forward(self, x_BCTHW: Tensor, past: _Past) -> Tensor:
        layers = list(self.children())
        for norm, conv in zip(layers[::2], layers[1::2], strict=True):
            # Rebinding the one name lets go of each tensor as soon as the next is there.
            x_BCTHW = past.window(conv, x_BCTHW, norm)
            x_BCTHW = conv(x_BCTHW)
        return x_BCTHW


class ResidualBlock(nn.Module):
    """Two rounds of norm, SiLU and convolution, added to the input."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.residual = NormConvs(in_channels, out_channels, out_channels)
        self.shortcut = nn.Conv3d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x_BCTHW: Tensor, past: _Past) -> Tensor:
        return self.residual(x_BCTHW, past).add_(self.shortcut(x_BCTHW))


class AttentionBlock(nn.Module):
    """Single-head self-attention among the pixels of each frame, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = RMSNorm(channels, num_trailing_axes=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCTHW: Tensor, past: _Past) -> Tensor:
        batch, channels, num_frames, height, width = x_BCTHW.shape
        # Channels-last, a frame already is a list of tokens and a 1 x 1 convolution a linear layer.
        x_BTHWC = self.norm(x_BCTHW).permute(0, 2, 3, 4, 1)
        qkv = F.linear(x_BTHWC, self.to_qkv.weight.flatten(1), self.to_qkv.bias)
        q, k, v = qkv.reshape(batch * num_frames, 1, height * width, 3 * channels).chunk(3, dim=-1)
        x_BTHWC = wide_attention(q, k, v).reshape(batch, num_frames, height, width, channels)
        x_BTHWC = F.linear(x_BTHWC, self.proj.weight.flatten(1), self.proj.bias)
        return x_BTHWC.permute(0, 4, 1, 2, 3).add_(x_BCTHW)


class Downsample(nn.Module):
    """Halve height and width and, if `temporal`, time too; the first frame of the clip stays a frame."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(channels, channels, 3, stride=2, padding=2)})
        self.time_conv = nn.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1)) if temporal else None

    def forward(self, x_BCTHW: Tensor, past: _Past) -> Tensor:
        height, width = x_BCTHW.shape[3:]
        # A kernel starts at every even row and column, and the last reaches one pixel past the image. Padding by
        # two all around and dropping the first row and column does the same without a padded copy of the input.
        frames_NCHW = self.resample["1"](x_BCTHW.transpose(1, 2).flatten(0, 1))
        frames_NCHW = frames_NCHW[..., 1 : 1 + height // 2, 1 : 1 + width // 2]
        x_BCTHW = frames_NCHW.unflatten(0, (x_BCTHW.shape[0], -1)).transpose(1, 2)
        if self.time_conv is None:
            return x_BCTHW
        tail_BCTHW = past.pop(self)
        past.keep(self, x_BCTHW[:, :, -1:])
        return x_BCTHW if tail_BCTHW is None else self.time_conv(torch.cat([tail_BCTHW, x_BCTHW], dim=2))


class Upsample(nn.Module):
    """Double height and width, halve the channels and, if `temporal`, double time past the first frame of the clip."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(channels, channels // 2, 3, padding=1)})
        self.time_conv = CausalConv3d(channels, 2 * channels, (3, 1, 1)) if temporal else None

    def forward(self, x_BCTHW: Tensor, past: _Past) -> Tensor:
        batch, channels, _, height, width = x_BCTHW.shape
        frames_BCHW: Sequence[Tensor] = x_BCTHW.unbind(2)
        if self.time_conv is not None and not past.is_first_chunk:
            # Two output frames come out of each input frame, stacked on the channels.
            pairs_BCTHW = self.time_conv(past.window(self.time_conv, x_BCTHW))
            frames_BCHW = [frame_BCHW for pair in pairs_BCTHW.unbind(2) for frame_BCHW in pair.chunk(2, dim=1)]
        out_BCTHW = _empty_channels_last((batch, channels // 2, len(frames_BCHW), 2 * height, 2 * width), like=x_BCTHW)
        # One frame at a time, because the enlarged input is twice the size of the output.
        for index, frame_BCHW in enumerate(frames_BCHW):
            enlarged_BCHW = F.interpolate(frame_BCHW, scale_factor=2, mode="nearest-exact")
            out_BCTHW[:, :, index] = self.resample["1"](enlarged_BCHW)
        return out_BCTHW


def _middle(channels: int) -> nn.ModuleList:
    return nn.ModuleList(
        [ResidualBlock(channels, channels), AttentionBlock(channels), ResidualBlock(channels, channels)]
    )


class Encoder(nn.Module):
    """One chunk of frames to the means and log-variances of its latents, before `WanVAE.conv1` mixes them."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        widths = [config.dim * mult for mult in config.dim_mult]
        self.conv1 = CausalConv3d(3, config.dim, (3, 3, 3))
        self.downsamples = nn.ModuleList()
        for level, (in_channels, out_channels) in enumerate(pairwise([config.dim, *widths])):
            for block in range(config.num_res_blocks):
                self.downsamples.append(ResidualBlock(in_channels if block == 0 else out_channels, out_channels))
            if level < len(widths) - 1:
                self.downsamples.append(Downsample(out_channels, config.temporal_downsample[level]))
        self.middle = _middle(widths[-1])
        self.head = NormConvs(widths[-1], 2 * config.z_dim)

    def forward(self, video_BCFHW: Tensor, past: _Past) -> Tensor:
        x_BCTHW = self.conv1(past.window(self.conv1, video_BCFHW))
        for layer in [*self.downsamples, *self.middle, self.head]:
            x_BCTHW = layer(x_BCTHW, past)
        return x_BCTHW


class Decoder(nn.Module):
    """One chunk of latents, after `WanVAE.conv2`, to its frames."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        widths = [config.dim * mult for mult in reversed(config.dim_mult)]
        self.conv1 = CausalConv3d(config.z_dim, widths[0], (3, 3, 3))
        self.middle = _middle(widths[0])
        self.upsamples = nn.ModuleList()
        in_channels = widths[0]
        for level, out_channels in enumerate(widths):
            for block in range(config.num_res_blocks + 1):
                self.upsamples.append(ResidualBlock(in_channels if block == 0 else out_channels, out_channels))
            if level < len(widths) - 1:
                self.upsamples.append(Upsample(out_channels, config.temporal_downsample[-1 - level]))
                in_channels = out_channels // 2
        self.head = NormConvs(widths[-1], 3)

    def forward(self, latents_BCTHW: Tensor, past: _Past) -> Tensor:
        x_BCTHW = self.conv1(past.window(self.conv1, latents_BCTHW))
        for layer in [*self.middle, *self.upsamples, self.head]:
            x_BCTHW = layer(x_BCTHW, past)
        return x_BCTHW


class WanVAE(nn.Module):
    """The tokenizer with the parameter names of the published file; computes in the dtype of its weights.

    Build it on the meta device and load the weights by assignment, which needs no initialisation.
    """

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        if config.z_dim != len(LATENT_MEAN):
            raise ValueError(f"z_dim is {config.z_dim}, but the latent statistics are for {len(LATENT_MEAN)} channels.")
        if len(config.temporal_downsample) != len(config.dim_mult) - 1:
            raise ValueError("temporal_downsample needs one entry fewer than dim_mult: one per step between levels.")
        self.config = config
        self.encoder = Encoder(config)
        self.conv1 = nn.Conv3d(2 * config.z_dim, 2 * config.z_dim, 1)
        self.conv2 = nn.Conv3d(config.z_dim, config.z_dim, 1)
        self.decoder = Decoder(config)
        self._constants: Constants[tuple[Tensor, Tensor]] = Constants()

    def forward(self, video_BCFHW: Tensor, noise_BCTHW: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode and decode clips, as a function that can be trained.

        Args:
            video_BCFHW: RGB in [-1, 1], 1 + 4 n frames, height and width multiples of `spatial_factor`.
            noise_BCTHW: added to the normalised latents before they are decoded.
        Returns:
            The clips again, and their normalised latents without the noise.
        """
        past, moments = _Past(), []
        for chunk_BCFHW, is_last in _with_last(_first_and_rest(video_BCFHW)):
            past.is_last_chunk = is_last
            moments.append(self.conv1(self.encoder(chunk_BCFHW, past)))
            past.is_first_chunk = False
        latents_BCTHW = self.normalise(torch.cat(moments, dim=2)[:, : self.config.z_dim])
        noisy_BCTHW = latents_BCTHW if noise_BCTHW is None else latents_BCTHW + noise_BCTHW
        past, pieces = _Past(), []
        for chunk_BCTHW, is_last in _with_last(_first_and_rest(noisy_BCTHW)):
            past.is_last_chunk = is_last
            pieces.append(self.decoder(self.conv2(self.denormalise(chunk_BCTHW)), past))
            past.is_first_chunk = False
        return torch.cat(pieces, dim=2), latents_BCTHW

    @property
    def spatial_factor(self) -> int:
        """Pixels per latent pixel, along height and along width."""
        return self.config.spatial_factor

    @property
    def temporal_factor(self) -> int:
        """Pixel frames per latent frame, after the first."""
        return self.config.temporal_factor

    def num_latent_frames(self, num_frames: int) -> int:
        """Latent frames of a clip of `num_frames`: the first frame is one, then each full group of 4 frames is."""
        return 1 + (num_frames - 1) // self.temporal_factor

    def num_frames(self, num_latent_frames: int) -> int:
        """Pixel frames that `num_latent_frames` decode to."""
        return 1 + (num_latent_frames - 1) * self.temporal_factor

    def normalise(self, latents_BCTHW: Tensor) -> Tensor:
        """Scale latents as the encoder makes them to mean 0 and standard deviation 1 per channel."""
        mean, inverse_std = self._statistics(latents_BCTHW)
        return (latents_BCTHW - mean) * inverse_std

    def denormalise(self, latents_BCTHW: Tensor) -> Tensor:
        """Undo `normalise`."""
        mean, inverse_std = self._statistics(latents_BCTHW)
        return latents_BCTHW / inverse_std + mean

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        def rounded() -> tuple[Tensor, Tensor]:
            # 1/std is taken of the rounded std and rounded again, like the original's bfloat16 constants.
            mean = torch.tensor(LATENT_MEAN, dtype=like.dtype, device=like.device).view(-1, 1, 1, 1)
            std = torch.tensor(LATENT_STD, dtype=like.dtype, device=like.device).view(-1, 1, 1, 1)
            return mean, 1.0 / std

        return self._constants((like.dtype, like.device), rounded)

    @torch.no_grad()
    def encode(self, video_BCFHW: Tensor, chunk_frames: int = 16) -> Tensor:
        """Encode a clip to normalised latents: the mean of the posterior, nothing is sampled.

        Args:
            video_BCFHW: RGB in [-1, 1], any number of frames F, height and width multiples of `spatial_factor`.
                Any dtype and device; it is moved chunk by chunk. Frames past the last full group of 4 have no
                latent: 8 frames give the latents of the first 5.
            chunk_frames: frames that pass through the network together after the first, a multiple of
                `temporal_factor`. More costs memory and changes the result by rounding only.
        Returns:
            Latents, B z_dim T H/8 W/8 with T = `num_latent_frames(F)`, in the dtype and on the device of the weights.
        Raises:
            ValueError: a shape or `chunk_frames` is none of the above.
        """
        return torch.cat(list(self.encode_chunks([video_BCFHW], chunk_frames)), dim=2).contiguous()

    @torch.no_grad()
    def encode_chunks(self, chunks_BCFHW: Iterable[Tensor], chunk_frames: int = 16) -> Iterator[Tensor]:
        """Encode a clip that arrives in pieces of any length, with memory that does not depend on its length.

        Arguments and errors are those of `encode`; joined along the frames, so is the result.
        """
        if chunk_frames < 1 or chunk_frames % self.temporal_factor:
            raise ValueError(f"chunk_frames is {chunk_frames}, not a positive multiple of {self.temporal_factor}.")
        past = _Past()
        for chunk_BCFHW, is_last in _with_last(self._regroup(chunks_BCFHW, chunk_frames)):
            past.is_last_chunk = is_last
            moments_BCTHW = self.encoder(chunk_BCFHW.to(self.conv1.weight), past)
            mean_BCTHW, _ = self.conv1(moments_BCTHW).chunk(2, dim=1)
            yield self.normalise(mean_BCTHW)
            past.is_first_chunk = False

    @torch.no_grad()
    def decode(self, latents_BCTHW: Tensor, chunk_latents: int = 1) -> Tensor:
        """Decode normalised latents to a clip.

        Args:
            latents_BCTHW: normalised latents, as `encode` returns them, any dtype and device.
            chunk_latents: latent frames that pass through the network together after the first. More costs
                memory, saves launches, and changes the result by rounding only.
        Returns:
            RGB, B 3 F 8H 8W with F = `num_frames(T)`, float32 and not clamped to [-1, 1], on the device of the weights.
        Raises:
            ValueError: a shape or `chunk_latents` is none of the above.
        """
        video_BCFHW: Tensor | None = None
        start = 0
        for chunk_BCFHW in self.decode_chunks(latents_BCTHW, chunk_latents):
            if video_BCFHW is None:
                batch, channels, _, height, width = chunk_BCFHW.shape
                num_frames = self.num_frames(latents_BCTHW.shape[2])
                video_BCFHW = chunk_BCFHW.new_empty(batch, channels, num_frames, height, width)
            stop = start + chunk_BCFHW.shape[2]
            video_BCFHW[:, :, start:stop] = chunk_BCFHW
            start = stop
        assert video_BCFHW is not None
        return video_BCFHW

    @torch.no_grad()
    def decode_chunks(self, latents_BCTHW: Tensor, chunk_latents: int = 1) -> Iterator[Tensor]:
        """Decode a clip piece by piece: its first frame, then 4 frames per latent, `chunk_latents` at a time.

        Memory does not depend on the length of the clip. Arguments and errors are those of `decode`; joined
        along the frames, so is the result.
        """
        if chunk_latents < 1:
            raise ValueError(f"chunk_latents is {chunk_latents}, not a positive number.")
        if latents_BCTHW.ndim != 5 or latents_BCTHW.shape[1] != self.config.z_dim or latents_BCTHW.shape[2] < 1:
            raise ValueError(
                f"latents have shape {tuple(latents_BCTHW.shape)}, not (B, {self.config.z_dim}, T, H, W) with T >= 1."
            )
        past = _Past()
        chunks = [latents_BCTHW[:, :, :1], *latents_BCTHW[:, :, 1:].split(chunk_latents, dim=2)]
        for chunk_BCTHW, is_last in _with_last(chunk for chunk in chunks if chunk.shape[2]):
            past.is_last_chunk = is_last
            latents = self.conv2(self.denormalise(chunk_BCTHW.to(self.conv2.weight)))
            yield self.decoder(latents, past).float()
            past.is_first_chunk = False

    def _regroup(self, pieces_BCFHW: Iterable[Tensor], chunk_frames: int) -> Iterator[Tensor]:
        """Cut a clip into its first frame, groups of `chunk_frames`, and the full groups of 4 of what remains."""
        held_BCFHW: Tensor | None = None
        size = 1
        for piece_BCFHW in pieces_BCFHW:
            self._check_frames(piece_BCFHW)
            held_BCFHW = piece_BCFHW if held_BCFHW is None else torch.cat([held_BCFHW, piece_BCFHW], dim=2)
            while held_BCFHW.shape[2] >= size:
                yield held_BCFHW[:, :, :size]
                held_BCFHW = held_BCFHW[:, :, size:]
                size = chunk_frames
        if held_BCFHW is None or size == 1:
            raise ValueError("the clip has no frames.")
        if num_full := held_BCFHW.shape[2] // self.temporal_factor * self.temporal_factor:
            yield held_BCFHW[:, :, :num_full]

    def _check_frames(self, video_BCFHW: Tensor) -> None:
        shape = tuple(video_BCFHW.shape)
        if len(shape) != 5 or shape[1] != 3 or shape[3] % self.spatial_factor or shape[4] % self.spatial_factor:
            raise ValueError(
                f"video has shape {shape}, not (B, 3, F, H, W) with H and W multiples of {self.spatial_factor}."
            )


def _first_and_rest(x_BCTHW: Tensor) -> list[Tensor]:
    return [part for part in (x_BCTHW[:, :, :1], x_BCTHW[:, :, 1:]) if part.shape[2]]


def _with_last(chunks: Iterable[Tensor]) -> Iterator[tuple[Tensor, bool]]:
    """Each chunk, and whether it is the last."""
    iterator = iter(chunks)
    chunk = next(iterator)
    for following in iterator:
        yield chunk, False
        chunk = following
    yield chunk, True
