"""The layers of the general diffusion transformer, under the names of its published files."""

# B batch, C latent channels, T latent frames, H and W height and width in patches, D model width
# L tokens or text positions, S = 1 modulation step; q, k and v are (B, L, heads, head width)

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cosmos_cli.models.configs import GeneralDiTConfig, GridTHW
from cosmos_cli.models.dit_layers import (
    EPS,
    MLP,
    Cut,
    HeadNorm,
    KeysValues,
    SelfAttentionOperator,
    ShardableAttention,
    adaln_modulation,
    cross_attention,
    modulate,
    modulation,
    self_attention,
    times,
)
from cosmos_cli.models.rope import RotaryTable, axis_dims

TENSOR_PLAN: Mapping[str, Cut] = {
    "attn.to_q.0": "columns",
    "attn.to_q.1": "heads",
    "attn.to_k.0": "columns",
    "attn.to_k.1": "heads",
    "attn.to_v.0": "columns",
    "attn.to_out.0": "rows",
    "block.layer1": "columns",
    "block.layer2": "rows",
}
"""How ranks that share every layer cut it, by the ends of its name; all else every one of them has and computes."""


class ConvolutionalPatchEmbedding(nn.Module):
    """Latents and mask channels to tokens, (B, T, H, W, D); the same sum as `PatchEmbedding`, stored as a kernel."""

    def __init__(self, channels: int, patch_THW: GridTHW, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels, width, kernel_size=patch_THW, stride=patch_THW, bias=False)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return self.proj(x_BCTHW).movedim(1, -1).contiguous()


def sincos_positions(
    grid_THW: GridTHW,
    width: int,
    extrapolation_ratios_THW: tuple[float, float, float],
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    """Sines and cosines of frame, row and column, one after the other, (T, H, W, D); computed in float64.

    Source: cosmos-predict1 main, diffusion/module/position_embedding.py (SinCosPosEmbAxis).
    """
    axes = []
    for length, dim, ratio in zip(grid_THW, axis_dims(width), extrapolation_ratios_THW, strict=True):
        frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) * 2 / dim)
        angles = torch.outer(torch.arange(length, dtype=torch.float64) / ratio, frequencies)
        axes.append(torch.cat([angles.sin(), angles.cos()], dim=-1).float().to(device, dtype))
    time, height, width_axis = axes
    return torch.cat(
        [
            time[:, None, None].expand(*grid_THW, -1),
            height[None, :, None].expand(*grid_THW, -1),
            width_axis[None, None, :].expand(*grid_THW, -1),
        ],
        dim=-1,
    )


class Attention(nn.Module):
    """Projections and norms that self- and cross-attention share: at 0 a linear layer, at 1 the norm of its heads."""

    def __init__(self, config: GeneralDiTConfig, context_channels: int) -> None:
        super().__init__()
        width, self.head_dim = config.model_channels, config.head_dim
        self.to_q = nn.Sequential(nn.Linear(width, width, bias=False), HeadNorm(self.head_dim, eps=EPS))
        self.to_k = nn.Sequential(nn.Linear(context_channels, width, bias=False), HeadNorm(self.head_dim, eps=EPS))
        self.to_v = nn.Sequential(nn.Linear(context_channels, width, bias=False))
        self.to_out = nn.Sequential(nn.Linear(width, width, bias=False))

    def queries(self, x_BLD: Tensor) -> Tensor:
        linear, norm = self.to_q
        return norm(linear(x_BLD).unflatten(-1, (-1, self.head_dim)))

    def keys_values(self, context_BLC: Tensor) -> KeysValues:
        heads = (-1, self.head_dim)
        linear, norm = self.to_k
        return norm(linear(context_BLC).unflatten(-1, heads)), self.to_v(context_BLC).unflatten(-1, heads)

    def output(self, out_BLD: Tensor) -> Tensor:
        return self.to_out(out_BLD)


class SelfAttention(ShardableAttention):
    """Attention among all tokens."""

    def __init__(self, config: GeneralDiTConfig, operator: SelfAttentionOperator) -> None:
        super().__init__()
        self.attn = Attention(config, config.model_channels)
        self.operator = operator

    def forward(self, x_BTHWD: Tensor, rope: RotaryTable) -> Tensor:
        return self_attention(self.attn, x_BTHWD, rope, self.operator)


class CrossAttention(nn.Module):
    """Attention of every token to the text, given as an embedding or as its keys and values."""

    def __init__(self, config: GeneralDiTConfig, attention_backend: str) -> None:
        super().__init__()
        self.attn = Attention(config, config.crossattn_emb_channels)
        self.attention_backend = attention_backend

    def forward(self, x_BTHWD: Tensor, text: Tensor | KeysValues) -> Tensor:
        return cross_attention(self.attn, x_BTHWD, text, self.attention_backend)


class SubBlock(nn.Module):
    """One of a block's three parts, normalised, modulated and gated by the noise level, and added to its input."""

    def __init__(self, config: GeneralDiTConfig, block: nn.Module) -> None:
        super().__init__()
        self.block, self.eps = block, config.block_norm_eps
        self.adaLN_modulation = adaln_modulation(config, 3)

    def forward(self, x_BTHWD: Tensor, emb_BSD: Tensor, adaln_lora_BSM: Tensor | None, *args: Any) -> Tensor:
        shift, scale, gate = modulation(self.adaLN_modulation, emb_BSD, adaln_lora_BSM)
        return times(self.block(modulate(x_BTHWD, shift, scale, self.eps), *args), gate).add_(x_BTHWD)


class Block(nn.Module):
    """Self-attention, cross-attention and MLP.

    Every intermediate is rounded to the network's dtype, as in the original; a fused version would differ in the
    last bits. A block never writes into its inputs.
    """

    def __init__(
        self,
        config: GeneralDiTConfig,
        attention_backend: str,
        operator: SelfAttentionOperator,
        cross_attention: type[CrossAttention] = CrossAttention,
    ) -> None:
        super().__init__()
        width = config.model_channels
        parts = (
            SelfAttention(config, operator),
            cross_attention(config, attention_backend),
            MLP(width, int(width * config.mlp_ratio)),
        )
        self.blocks = nn.ModuleList(SubBlock(config, part) for part in parts)

    def text_keys_values(self, context_BLC: Tensor) -> KeysValues:
        """Keys and values of a text embedding (B, L, C), which `forward` takes in its place."""
        keys_values: KeysValues = self.blocks[1].block.attn.keys_values(context_BLC)  # type: ignore[union-attr, operator]
        return keys_values

    def forward(
        self,
        x_BTHWD: Tensor,
        emb_BSD: Tensor,
        adaln_lora_BSM: Tensor | None,
        text: Tensor | KeysValues,
        rope: RotaryTable,
        positions_THWD: Tensor | None = None,
    ) -> Tensor:
        if positions_THWD is not None:
            x_BTHWD = x_BTHWD + positions_THWD
        self_attn, cross_attn, mlp = self.blocks
        x_BTHWD = self_attn(x_BTHWD, emb_BSD, adaln_lora_BSM, rope)
        x_BTHWD = cross_attn(x_BTHWD, emb_BSD, adaln_lora_BSM, text)
        return mlp(x_BTHWD, emb_BSD, adaln_lora_BSM)


class FinalLayer(nn.Module):
    """Tokens to output patches, (B, T, H, W, patch), normalised and modulated like a block's input."""

    def __init__(self, config: GeneralDiTConfig) -> None:
        super().__init__()
        self.adaLN_modulation = adaln_modulation(config, 2)
        self.linear = nn.Linear(config.model_channels, math.prod(config.patch_THW) * config.out_channels, bias=False)

    def forward(self, x_BTHWD: Tensor, emb_BSD: Tensor, adaln_lora_BSM: Tensor | None) -> Tensor:
        shift, scale = modulation(self.adaLN_modulation, emb_BSD, adaln_lora_BSM)
        return self.linear(modulate(x_BTHWD, shift, scale))
