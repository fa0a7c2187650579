"""What the diffusion transformers of Cosmos have in common: patches, timesteps, modulation, attention, positions.

The networks differ in the names of their parameters and in a few details; the arithmetic they share is here.
"""

# B batch, C latent channels, T latent frames, H and W latent height and width; in a grid they count patches
# D model width, L tokens or text positions, S modulation steps: 1, or one per latent frame
# q, k and v are (B, L, heads, head width)

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from cosmos_cli.models.configs import DiTConfig, GridTHW, NeighborhoodConfig
from cosmos_cli.models.neighborhood import neighborhood_attention
from cosmos_cli.models.regional_attention import RegionalKeysValues, regional_attention
from cosmos_cli.models.rope import RotaryTable, rope_angles, rotate
from cosmos_cli.runtime.attention import attention

KeysValues = tuple[Tensor, Tensor]
SelfAttentionOperator = Callable[[Tensor, Tensor, Tensor, GridTHW], Tensor]
Cut = Literal["columns", "rows", "heads"]
"""How ranks that share a layer cut it: a linear one by what it gives or by what it takes, or a norm of every head."""

EPS = 1e-6


@dataclass(frozen=True)
class EncodedText:
    """A text as the network reads it: per block the cross-attention keys and values of every text position."""

    keys_values: tuple[KeysValues, ...]


class Patchify(nn.Module):
    """(B, C, T, H, W) to (B, T, H, W, patch), a patch ordered (channel, frame, row, column)."""

    def __init__(self, patch_THW: GridTHW) -> None:
        super().__init__()
        self.patch_THW = patch_THW

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        p_t, p_h, p_w = self.patch_THW
        x = x_BCTHW.unflatten(4, (-1, p_w)).unflatten(3, (-1, p_h)).unflatten(2, (-1, p_t))
        return x.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)


class PatchEmbedding(nn.Module):
    """Latents and mask channels to tokens, (B, T, H, W, D)."""

    def __init__(self, channels: int, patch_THW: GridTHW, width: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(Patchify(patch_THW), nn.Linear(channels * math.prod(patch_THW), width, bias=False))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return self.proj(x_BCTHW)


def with_masks(
    config: DiTConfig, x_BCTHW: Tensor, condition_mask_B1THW: Tensor | None, padding_mask_B1HW: Tensor | None
) -> Tensor:
    """The network's input channels: latents, then the condition mask, then the padding mask.

    Raises:
        ValueError: the latents do not fit channels and patches, or there is a mask that the network does not take.
    """
    B, channels_in, *size_THW = x_BCTHW.shape
    if channels_in != config.in_channels or any(n % p for n, p in zip(size_THW, config.patch_THW, strict=True)):
        raise ValueError(
            f"latents of shape {tuple(x_BCTHW.shape)} do not fit {config.in_channels} channels and patches of "
            f"{config.patch_THW}"
        )
    channels = [x_BCTHW]
    if config.condition_mask:
        if condition_mask_B1THW is None:
            condition_mask_B1THW = x_BCTHW.new_zeros(B, 1, *size_THW)
        channels.append(condition_mask_B1THW.to(x_BCTHW.dtype))
    elif condition_mask_B1THW is not None:
        raise ValueError("this network has no condition mask channel")
    if config.concat_padding_mask:
        channels.append(padding_channel(x_BCTHW, padding_mask_B1HW))
    return torch.cat(channels, dim=1)


def padding_channel(x_BCTHW: Tensor, padding_mask_B1HW: Tensor | None) -> Tensor:
    """A padding mask of any size at the latents' size and in every frame, (B, 1, T, H, W); None is zeros."""
    B, _, *size_THW = x_BCTHW.shape
    if padding_mask_B1HW is None:
        padding_mask_B1HW = x_BCTHW.new_zeros(B, 1, *size_THW[1:])
    padding_B1HW = F.interpolate(padding_mask_B1HW.to(x_BCTHW.dtype), size=size_THW[1:], mode="nearest")
    return padding_B1HW[:, :, None].expand(B, 1, *size_THW)


def unpatchify(patches_BTHWP: Tensor, patch_THW: GridTHW) -> Tensor:
    """Output patches, ordered (row, column, frame, channel) unlike an input patch, as latents (B, C, T, H, W)."""
    B, T, H, W, _ = patches_BTHWP.shape
    p_t, p_h, p_w = patch_THW
    patches = patches_BTHWP.view(B, T, H, W, p_h, p_w, p_t, -1)
    return patches.permute(0, 7, 1, 6, 2, 4, 3, 5).reshape(B, -1, T * p_t, H * p_h, W * p_w)


class LearntPositions(nn.Module):
    """A learnt embedding per frame, row and column; their sum, scaled to root mean square 1, marks a position."""

    def __init__(self, width: int, max_grid_THW: GridTHW) -> None:
        super().__init__()
        self.pos_emb_t, self.pos_emb_h, self.pos_emb_w = (
            nn.Parameter(torch.randn(length, width) / math.sqrt(width)) for length in max_grid_THW
        )

    def forward(self, grid_THW: GridTHW) -> Tensor:
        T, H, W = grid_THW
        emb_THWD = self.pos_emb_t[:T, None, None] + self.pos_emb_h[:H, None] + self.pos_emb_w[:W]
        norm = torch.linalg.vector_norm(emb_THWD, dim=-1, keepdim=True, dtype=torch.float32)
        return emb_THWD / (norm / math.sqrt(emb_THWD.shape[-1]) + EPS).to(emb_THWD.dtype)


class TimestepSinusoid(nn.Module):
    """Timesteps as cosines and sines of falling frequency, (B, S, D), computed in float32 and rounded once."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, timesteps_BT: Tensor) -> Tensor:
        half = self.width // 2
        exponents = torch.arange(half, dtype=torch.float32, device=timesteps_BT.device) * -math.log(10000) / half
        angles = timesteps_BT.float()[..., None] * exponents.exp()
        return torch.cat([angles.cos(), angles.sin()], dim=-1).to(timesteps_BT.dtype)


class TimestepMLP(nn.Module):
    """The sinusoid and what an MLP makes of it.

    With AdaLN-LoRA the embedding is the sinusoid itself and the MLP gives the shared modulation (B, S, 3D);
    with plain AdaLN the embedding is the MLP's output and nothing is shared.
    """

    def __init__(self, width: int, use_adaln_lora: bool) -> None:
        super().__init__()
        self.use_adaln_lora = use_adaln_lora
        self.linear_1 = nn.Linear(width, width, bias=not use_adaln_lora)
        self.linear_2 = nn.Linear(width, 3 * width if use_adaln_lora else width, bias=False)

    def forward(self, sinusoid_BSD: Tensor) -> tuple[Tensor, Tensor | None]:
        out = self.linear_2(F.silu(self.linear_1(sinusoid_BSD)))
        return (sinusoid_BSD, out) if self.use_adaln_lora else (out, None)


def timestep_embedder(config: DiTConfig) -> nn.Sequential:
    """Timesteps (B, S) to what `TimestepMLP` gives."""
    width = config.model_channels
    return nn.Sequential(TimestepSinusoid(width), TimestepMLP(width, config.use_adaln_lora))


class HeadNorm(nn.RMSNorm):
    """The norm of each head's channels, with one weight for all heads.

    group: ranks that have some of the heads each; each has the whole gradient of the weight, the sum of all theirs.
    """

    group: dist.ProcessGroup | None = None

    def forward(self, x_BLHD: Tensor) -> Tensor:
        weight = self.weight if self.group is None else _Summed.apply(self.weight, self.group)
        return F.rms_norm(x_BLHD, self.normalized_shape, weight, self.eps)


class _Summed(torch.autograd.Function):
    """The same tensor, of which each rank of a group makes another use; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.group)
        return total, None


class Projections(Protocol):
    """What attention needs of a layer, under whatever names its parameters are stored."""

    def queries(self, x_BLD: Tensor) -> Tensor: ...

    def keys_values(self, context_BLC: Tensor) -> KeysValues: ...

    def output(self, out_BLD: Tensor) -> Tensor: ...


class ShardableAttention(nn.Module):
    """A layer of attention among all tokens.

    `operator` computes it from rotated q, k, v and the grid; replace it to attend in another way, for instance over
    the tokens of several devices.
    """

    operator: SelfAttentionOperator


def self_attention(layer: Projections, x_BTHWD: Tensor, rope: RotaryTable, operator: SelfAttentionOperator) -> Tensor:
    """Attention among all tokens, (B, T, H, W, D); `operator` computes it from rotated q, k, v and the grid.

    Where the tokens are one rank's share, the grid is that of all ranks' tokens, and the operator has to reach them.
    """
    _, T, H, W, _ = x_BTHWD.shape
    x_BLD = x_BTHWD.flatten(1, 3)
    q = rotate(layer.queries(x_BLD), rope)
    k, v = layer.keys_values(x_BLD)
    out = operator(q, rotate(k, rope), v, rope.whole_grid_THW or (T, H, W))
    return layer.output(out.flatten(2)).view(x_BTHWD.shape)


def cross_attention(layer: Projections, x_BTHWD: Tensor, text: Tensor | KeysValues, backend: str) -> Tensor:
    """Attention of every token to the text, given as an embedding or as its keys and values, (B, T, H, W, D)."""
    if isinstance(text, RegionalKeysValues):
        out = regional_attention(layer.queries(x_BTHWD.flatten(1, 3)), text, backend)
    else:
        k, v = layer.keys_values(text) if isinstance(text, Tensor) else text
        out = attention(layer.queries(x_BTHWD.flatten(1, 3)), k, v, backend)
    return layer.output(out.flatten(2)).view(x_BTHWD.shape)


def neighborhood_operator(config: NeighborhoodConfig | None, backend: str) -> SelfAttentionOperator:
    """Self-attention over a grid of tokens: sparse with a config, dense without."""
    if config is None:
        return lambda q, k, v, grid_THW: attention(q, k, v, backend)
    return lambda q, k, v, grid_THW: neighborhood_attention(q, k, v, grid_THW, config, backend)


class MLP(nn.Module):
    """Every token alone: out, GELU, and back."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layer1 = nn.Linear(width, hidden, bias=False)
        self.layer2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x_BTHWD: Tensor) -> Tensor:
        hidden = self.layer1(x_BTHWD)
        # This is the largest tensor of the network: only training needs a second one.
        return self.layer2(F.gelu(hidden) if torch.is_grad_enabled() else torch.ops.aten.gelu_(hidden))


def adaln_modulation(config: DiTConfig, num_chunks: int) -> nn.Sequential:
    """The layers from the noise level to `num_chunks` vectors of modulation, low-rank with AdaLN-LoRA."""
    width, rank = config.model_channels, config.adaln_lora_dim
    widths = [width, rank, num_chunks * width] if config.use_adaln_lora else [width, num_chunks * width]
    linears = (nn.Linear(m, n, bias=False) for m, n in pairwise(widths))
    return nn.Sequential(nn.SiLU(), *linears)


def modulation(layers: nn.Sequential, emb_BSD: Tensor, adaln_lora_BSM: Tensor | None) -> list[Tensor]:
    """Shift, scale and, where the layers give three chunks, gate, (B, S, 1, 1, D) each."""
    out_BSM: Tensor = layers(emb_BSD)
    if adaln_lora_BSM is not None:
        out_BSM = out_BSM + adaln_lora_BSM[..., : out_BSM.shape[-1]]
    return list(out_BSM[:, :, None, None].split(emb_BSD.shape[-1], dim=-1))


def modulate(x_BTHWD: Tensor, shift: Tensor, scale: Tensor, eps: float = EPS) -> Tensor:
    """LayerNorm without weights, then times 1 + scale, plus shift."""
    normed = F.layer_norm(x_BTHWD, x_BTHWD.shape[-1:], eps=eps)
    return times(normed, 1 + scale).add_(shift)


def times(x: Tensor, factor: Tensor | float) -> Tensor:
    """x * factor; overwrites x, a temporary of the caller, unless gradients may need it."""
    return x * factor if torch.is_grad_enabled() else x.mul_(factor)


def plus(x: Tensor, addend: Tensor) -> Tensor:
    """x + addend; overwrites x, a temporary of the caller, unless gradients may need it."""
    return x + addend if torch.is_grad_enabled() else x.add_(addend)


def config_rope_angles(
    config: DiTConfig,
    grid_THW: GridTHW,
    *,
    fps: float | Tensor | None,
    in_seconds: bool,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    """Rotary angles of every token of a network's grid, (L, R) float32.

    Args:
        in_seconds: temporal positions count 1/base_fps seconds rather than latent frames; a video then needs its fps,
            one for the whole batch.
    Raises:
        ValueError: the grid is larger than the network supports, or its video needs one fps and has none.
    """
    if any(n > limit for n, limit in zip(grid_THW, config.max_grid_THW, strict=True)):
        raise ValueError(f"a grid of {tuple(grid_THW)} patches exceeds the network's limit of {config.max_grid_THW}")
    seconds_scale = None
    if in_seconds and grid_THW[0] > 1:
        seconds_scale = _single_fps(fps), float(config.base_fps)
    return rope_angles(
        grid_THW,
        head_dim=config.head_dim,
        extrapolation_ratios_THW=(
            config.rope_t_extrapolation_ratio,
            config.rope_h_extrapolation_ratio,
            config.rope_w_extrapolation_ratio,
        ),
        seconds_scale=seconds_scale,
        dtype=dtype,
        device=device,
    )


def _single_fps(fps: float | Tensor | None) -> float:
    rates = torch.as_tensor(fps).unique().tolist() if fps is not None else []
    if len(rates) != 1:
        raise ValueError(f"the rotary positions of this network need one fps for the whole batch, not {rates}")
    return float(rates[0])


def table_dtype(dtype: torch.dtype) -> torch.dtype:
    """What a network of this dtype rounds its rotary angles to."""
    return torch.bfloat16 if dtype == torch.bfloat16 else torch.float32


def grid_of(x_BTHWD: Tensor) -> GridTHW:
    """The grid that tokens stand in."""
    _, T, H, W, _ = x_BTHWD.shape
    return T, H, W


def check_table(rope: RotaryTable, grid_THW: GridTHW, share_THW: GridTHW) -> None:
    """Raises ValueError if a rotary table does not belong to the grid, or not to the share of it that is held here."""
    if len(rope.cos_LR) != math.prod(share_THW):
        raise ValueError(f"the rotary table holds {len(rope.cos_LR)} tokens, the latents {math.prod(share_THW)}")
    if rope.whole_grid_THW not in (None, grid_THW):
        raise ValueError(f"the rotary table is a share of {rope.whole_grid_THW} tokens, the latents have {grid_THW}")
