"""Layers of the Cosmos continuous video tokenizer.

Every layer looks only at its own and earlier frames, so a clip passes through step by step, its first frame alone
and then a few frames at a time, with the result of a single pass. What layers need of the past travels in a
`Past` that belongs to one clip; the modules hold weights and nothing else.

Activations work in place where no graph, or none that needs them, is built: only training builds one.

Axis names: B batch, C channel, T frames of the step, F pixel frames, N frames of all clips of a batch, H and W height
and width, P pixels, S latent frames so far.

Source: cosmos-predict1, cosmos_predict1/tokenizer/modules/layers3d.py and patching.py (behaviour, parameter names).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosmos_cli.runtime.attention import wide_attention


class Past:
    """What one clip leaves behind for its next step: the last frames of each causal layer, keys and values.

    Args:
        num_latents: latent frames of the whole clip.
    """

    def __init__(self, num_latents: int) -> None:
        self.num_latents = num_latents
        self.num_done = 0
        """Latent frames of the steps that are finished."""
        self._tails: dict[nn.Module, Tensor] = {}
        self._keys_values: dict[nn.Module, Tensor] = {}

    @property
    def is_first_step(self) -> bool:
        return self.num_done == 0

    def window(self, conv: TemporalConv, x_BCTHW: Tensor) -> Tensor:
        """The input of `conv`: the frames before `x_BCTHW` that it reaches, then `x_BCTHW`, not to be changed any more.

        The first frame of a clip comes alone. It stands for all before it, so its window is itself three times.
        """
        if self.is_first_step:
            assert x_BCTHW.shape[2] == 1
            self._tails[conv] = x_BCTHW.expand(-1, -1, conv.num_past, -1, -1)
            return x_BCTHW.expand(-1, -1, 3, -1, -1)
        window_BCTHW = torch.cat([self._tails.pop(conv), x_BCTHW], dim=2)
        # Where the input is not just the frames to keep, a copy, because a view would keep all of it alive.
        is_tail = x_BCTHW.shape[2] == conv.num_past
        self._tails[conv] = x_BCTHW if is_tail else window_BCTHW[:, :, -conv.num_past :].clone()
        return window_BCTHW

    def keys_values(self, layer: nn.Module, k_BTHWC: Tensor, v_BTHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of `layer` for all latent frames so far, the new ones included, both P S C."""
        batch, num_new, height, width, channels = k_BTHWC.shape
        if layer not in self._keys_values:
            # The whole clip's at once: nothing is copied again as it grows.
            self._keys_values[layer] = k_BTHWC.new_empty(2, batch, height, width, self.num_latents, channels)
        stored = self._keys_values[layer]
        if torch.is_grad_enabled():
            # a graph needs what the earlier steps read as it was
            stored = self._keys_values[layer] = stored.clone()
        num_known = self.num_done + num_new
        for kind, new_BTHWC in enumerate((k_BTHWC, v_BTHWC)):
            stored[kind, ..., self.num_done : num_known, :] = new_BTHWC.permute(0, 2, 3, 1, 4)
        k_PSC, v_PSC = stored[..., :num_known, :].flatten(1, 3)
        return k_PSC, v_PSC


def _to_frames(x_BCTHW: Tensor) -> Tensor:
    return x_BCTHW.transpose(1, 2).flatten(0, 1)


def _from_frames(x_NCHW: Tensor, batch: int) -> Tensor:
    return x_NCHW.unflatten(0, (batch, -1)).transpose(1, 2)


# The three convolutions below run in two dimensions, for which torch has the faster kernels; over time, all pixels of a
# frame are one row.


class PointConv(nn.Module):
    """A linear layer on the channels, stored as a 1 x 1 x 1 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, 1)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        rows_BCTP = F.conv2d(x_BCTHW.flatten(3), self.conv3d.weight.flatten(3), self.conv3d.bias)
        return rows_BCTP.unflatten(3, x_BCTHW.shape[3:])

    def linear(self, x_BTHWC: Tensor) -> Tensor:
        """The same where channels come last."""
        return F.linear(x_BTHWC, self.conv3d.weight.flatten(1), self.conv3d.bias)


class SpatialConv(nn.Module):
    """A 3 x 3 convolution of each frame."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, padding: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, (1, 3, 3), (1, stride, stride), (0, padding, padding))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        conv = self.conv3d
        frames_NCHW = F.conv2d(_to_frames(x_BCTHW), conv.weight[:, :, 0], conv.bias, conv.stride[1:], conv.padding[1:])
        return _from_frames(frames_NCHW, x_BCTHW.shape[0])


class TemporalConv(nn.Module):
    """A convolution over a frame and the two before it, pixel by pixel; with stride 2 at every second frame.

    It takes a window from `Past.window`.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, (3, 1, 1), (stride, 1, 1))

    @property
    def num_past(self) -> int:
        """Frames before a step that the convolution reaches, after the first step."""
        return 3 - self.conv3d.stride[0]

    def forward(self, window_BCTHW: Tensor) -> Tensor:
        conv = self.conv3d
        rows_BCTP = F.conv2d(window_BCTHW.flatten(3), conv.weight.flatten(3), conv.bias, conv.stride[:2])
        return rows_BCTP.unflatten(3, window_BCTHW.shape[3:])


class FactorisedConv(nn.ModuleList):
    """A convolution over space, then one over time."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__([SpatialConv(in_channels, out_channels), TemporalConv(out_channels, out_channels)])

    def forward(self, x_BCTHW: Tensor, past: Past) -> Tensor:
        over_space, over_time = self
        assert isinstance(over_time, TemporalConv)
        return over_time(past.window(over_time, over_space(x_BCTHW)))


class FrameNorm(nn.Module):
    """Each frame to mean 0 and variance 1 over all its channels and pixels, then scale and shift per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels, eps=1e-6)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return _from_frames(self.norm(_to_frames(x_BCTHW)), x_BCTHW.shape[0])


class ResidualBlock(nn.Module):
    """Two rounds of norm, SiLU and convolution, added to the input."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = FrameNorm(in_channels)
        self.conv1 = FactorisedConv(in_channels, out_channels)
        self.norm2 = FrameNorm(out_channels)
        self.conv2 = FactorisedConv(out_channels, out_channels)
        self.nin_shortcut = PointConv(in_channels, out_channels) if in_channels != out_channels else nn.Identity()

    def forward(self, x_BCTHW: Tensor, past: Past) -> Tensor:
        hidden_BCTHW = self.conv1(F.silu(self.norm1(x_BCTHW), inplace=True), past)
        # Rebinding the one name lets go of each tensor as soon as the next is there.
        hidden_BCTHW = F.silu(self.norm2(hidden_BCTHW), inplace=True)
        hidden_BCTHW = self.conv2(hidden_BCTHW, past)
        return hidden_BCTHW.add_(self.nin_shortcut(x_BCTHW))


class _Attention(nn.Module):
    """Single-head self-attention, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = FrameNorm(channels)
        self.q = PointConv(channels, channels)
        self.k = PointConv(channels, channels)
        self.v = PointConv(channels, channels)
        self.proj_out = PointConv(channels, channels)

    def forward(self, x_BCTHW: Tensor, past: Past) -> Tensor:
        normed_BTHWC = self.norm(x_BCTHW).permute(0, 2, 3, 4, 1).contiguous()
        q, k, v = (project.linear(normed_BTHWC) for project in (self.q, self.k, self.v))
        mixed_BTHWC = self.proj_out.linear(self.attend(q, k, v, past))
        return mixed_BTHWC.permute(0, 4, 1, 2, 3).add_(x_BCTHW)

    @abstractmethod
    def attend(self, q_BTHWC: Tensor, k_BTHWC: Tensor, v_BTHWC: Tensor, past: Past) -> Tensor:
        """What each token gathers of the others, in the shape of the queries."""


class SpatialAttention(_Attention):
    """Among the pixels of each frame."""

    def attend(self, q_BTHWC: Tensor, k_BTHWC: Tensor, v_BTHWC: Tensor, past: Past) -> Tensor:
        q, k, v = (x.flatten(2, 3).flatten(0, 1).unsqueeze(1) for x in (q_BTHWC, k_BTHWC, v_BTHWC))
        return wide_attention(q, k, v).view(q_BTHWC.shape)


class TemporalAttention(_Attention):
    """Among the frames at each pixel; a frame sees itself and those before it."""

    def attend(self, q_BTHWC: Tensor, k_BTHWC: Tensor, v_BTHWC: Tensor, past: Past) -> Tensor:
        batch, num_new, height, width, channels = q_BTHWC.shape
        k_PSC, v_PSC = past.keys_values(self, k_BTHWC, v_BTHWC)
        q_PTC = q_BTHWC.permute(0, 2, 3, 1, 4).flatten(0, 2)
        # Written out: fused kernels are made for long sequences, and some refuse as many of them as there are pixels.
        scores_PTS = torch.matmul(q_PTC, k_PSC.mT).mul_(channels**-0.5)
        if num_new > 1:
            is_later_TS = torch.ones(scores_PTS.shape[1:], dtype=torch.bool, device=q_PTC.device)
            scores_PTS.masked_fill_(is_later_TS.triu_(past.num_done + 1), float("-inf"))
        mixed_PTC = torch.matmul(scores_PTS.softmax(dim=-1), v_PSC)
        return mixed_PTC.view(batch, height, width, num_new, channels).permute(0, 3, 1, 2, 4)


class Middle(nn.Module):
    """Residual block, attention over space, attention over time, residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels)
        self.attn_1 = nn.ModuleList([SpatialAttention(channels), TemporalAttention(channels)])
        self.block_2 = ResidualBlock(channels, channels)

    def forward(self, x_BCTHW: Tensor, past: Past) -> Tensor:
        for layer in (self.block_1, *self.attn_1, self.block_2):
            x_BCTHW = layer(x_BCTHW, past)
        return x_BCTHW


class Downsample(nn.Module):
    """Halve space, time or both; the first frame of the clip stays a frame."""

    def __init__(self, channels: int, spatial: bool, temporal: bool) -> None:
        super().__init__()
        self.conv1 = SpatialConv(channels, channels, stride=2, padding=0) if spatial else None
        self.conv2 = TemporalConv(channels, channels, stride=2) if temporal else None
        self.conv3 = PointConv(channels, channels)

    def forward(self, x_BCTHW: Tensor, past: Past) -> Tensor:
        if self.conv1 is not None:
            pooled_NCHW = F.avg_pool2d(_to_frames(x_BCTHW), 2)
            # Each kernel begins at an even row and column, so the last ones reach one pixel past the frame.
            x_BCTHW = self.conv1(F.pad(x_BCTHW, (0, 1, 0, 1))).add_(_from_frames(pooled_NCHW, x_BCTHW.shape[0]))
        if self.conv2 is not None:
            # The first frame is averaged with a copy of itself.
            pooled_BCTHW = x_BCTHW if past.is_first_step else (x_BCTHW[:, :, ::2] + x_BCTHW[:, :, 1::2]) / 2
            x_BCTHW = self.conv2(past.window(self.conv2, x_BCTHW)).add_(pooled_BCTHW)
        return self.conv3(x_BCTHW)


class Upsample(nn.Module):
    """Double space, time or both; the first frame of the clip stays a frame."""

    def __init__(self, channels: int, spatial: bool, temporal: bool) -> None:
        super().__init__()
        self.conv1 = TemporalConv(channels, channels) if temporal else None
        self.conv2 = SpatialConv(channels, channels) if spatial else None
        self.conv3 = PointConv(channels, channels)

    def forward(self, x_BCTHW: Tensor, past: Past) -> Tensor:
        if self.conv1 is not None:
            repeated_BCTHW = x_BCTHW if past.is_first_step else x_BCTHW.repeat_interleave(2, dim=2)
            x_BCTHW = self.conv1(past.window(self.conv1, repeated_BCTHW)).add_(repeated_BCTHW)
        if self.conv2 is not None:
            enlarged_NCHW = F.interpolate(_to_frames(x_BCTHW), scale_factor=2, mode="nearest-exact")
            x_BCTHW = _from_frames(enlarged_NCHW, x_BCTHW.shape[0])
            x_BCTHW = self.conv2(x_BCTHW).add_(x_BCTHW)
        return self.conv3(x_BCTHW)


class Level(nn.Module):
    """Residual blocks at one resolution, and the step to the next resolution if there is one."""

    def __init__(self, widths: Sequence[int], **resample: Downsample | Upsample) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResidualBlock(*pair) for pair in pairwise(widths))
        for name, module in resample.items():
            self.add_module(name, module)

    def forward(self, x_BCTHW: Tensor, past: Past) -> Tensor:
        for block in self.block:
            x_BCTHW = block(x_BCTHW, past)
        for name, resample in self.named_children():
            if name != "block":
                x_BCTHW = resample(x_BCTHW, past)
        return x_BCTHW


def haar_patches(video_BCFHW: Tensor, patch_size: int) -> Tensor:
    """Pixels to wavelet bands: log2(patch_size) Haar transforms of time, height and width, each of all bands.

    Args:
        video_BCFHW: F, H and W multiples of `patch_size`.
    Returns:
        B, C * patch_size**3, F, H, W with the last three divided by `patch_size`. The bands of the last transform vary
        slowest among the channels.
    """
    # The original's filter tap in the dtype of the video: in bfloat16 its rounding biases every band.
    tap = torch.tensor(0.5**0.5, dtype=video_BCFHW.dtype).item()
    for _ in range(patch_size.bit_length() - 1):
        bands = [video_BCFHW]
        for dim in (2, 3, 4):
            bands = [half for band in bands for half in _split(band, dim, tap)]
        video_BCFHW = torch.cat(bands, dim=1) / 8**0.5
    return video_BCFHW


def _split(x: Tensor, dim: int, tap: float) -> tuple[Tensor, Tensor]:
    """Low and high band of neighbours along `dim`, computed in float32 and rounded once, as by a convolution."""
    a, b = (half.float() for half in x.unflatten(dim, (-1, 2)).unbind(dim + 1))
    return ((a + b) * tap).to(x.dtype), ((a - b) * tap).to(x.dtype)


def haar_pixels(bands_BCTHW: Tensor, patch_size: int) -> Tensor:
    """The inverse of `haar_patches`, rounding after every product and sum, as the original does."""
    tap = torch.tensor(0.5**0.5, dtype=bands_BCTHW.dtype).item()
    for _ in range(patch_size.bit_length() - 1):
        bands = list(bands_BCTHW.chunk(8, dim=1))
        for dim in (4, 3, 2):
            bands = [_merge(low * tap, high * tap, dim) for low, high in zip(bands[::2], bands[1::2], strict=True)]
        bands_BCTHW = bands[0] * 8**0.5
    return bands_BCTHW


def _merge(low: Tensor, high: Tensor, dim: int) -> Tensor:
    return torch.stack([low + high, low - high], dim=dim + 1).flatten(dim, dim + 1)
