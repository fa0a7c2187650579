"""The layers of the minimal diffusion transformer, under the names of its published files."""

# B batch, T latent frames, H and W height and width in patches, D model width, L tokens or text positions
# S modulation steps: 1, or one per latent frame; q, k and v are (B, L, heads, head width)

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from cosmos_cli.models.configs import MinimalDiTConfig
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
from cosmos_cli.models.rope import RotaryTable

TENSOR_PLAN: Mapping[str, Cut] = {
    "attn.q_proj": "columns",
    "attn.q_norm": "heads",
    "attn.k_proj": "columns",
    "attn.k_norm": "heads",
    "attn.v_proj": "columns",
    "attn.output_proj": "rows",
    "mlp.layer1": "columns",
    "mlp.layer2": "rows",
}
"""How ranks that share every layer cut it, by the ends of its name; all else every one of them has and computes."""


class Attention(nn.Module):
    """Projections and norms that self- and cross-attention share."""

    def __init__(self, config: MinimalDiTConfig, context_channels: int) -> None:
        super().__init__()
        width, self.head_dim = config.model_channels, config.head_dim
        self.q_proj = nn.Linear(width, width, bias=False)
        self.q_norm = HeadNorm(self.head_dim, eps=EPS)
        self.k_proj = nn.Linear(context_channels, width, bias=False)
        self.k_norm = HeadNorm(self.head_dim, eps=EPS)
        self.v_proj = nn.Linear(context_channels, width, bias=False)
        self.output_proj = nn.Linear(width, width, bias=False)

    def queries(self, x_BLD: Tensor) -> Tensor:
        return self.q_norm(self.q_proj(x_BLD).unflatten(-1, (-1, self.head_dim)))

    def keys_values(self, context_BLC: Tensor) -> KeysValues:
        heads = (-1, self.head_dim)
        keys = self.k_norm(self.k_proj(context_BLC).unflatten(-1, heads))
        return keys, self.v_proj(context_BLC).unflatten(-1, heads)

    def output(self, out_BLD: Tensor) -> Tensor:
        return self.output_proj(out_BLD)


class SelfAttention(Attention, ShardableAttention):
    """Attention among all tokens."""

    def __init__(self, config: MinimalDiTConfig, operator: SelfAttentionOperator) -> None:
        super().__init__(config, config.model_channels)
        self.operator = operator

    def forward(self, x_BTHWD: Tensor, rope: RotaryTable) -> Tensor:
        return self_attention(self, x_BTHWD, rope, self.operator)


class CrossAttention(Attention):
    """Attention of every token to the text, given as an embedding or as its keys and values."""

    def __init__(self, config: MinimalDiTConfig, attention_backend: str) -> None:
        super().__init__(config, config.crossattn_emb_channels)
        self.attention_backend = attention_backend

    def forward(self, x_BTHWD: Tensor, text: Tensor | KeysValues) -> Tensor:
        return cross_attention(self, x_BTHWD, text, self.attention_backend)


class Block(nn.Module):
    """Self-attention, cross-attention and MLP, each normalised, modulated and gated by the noise level.

    Every intermediate is rounded to the network's dtype, as in the original; a fused version would differ in the
    last bits. A block never writes into its inputs.
    """

    def __init__(
        self,
        config: MinimalDiTConfig,
        attention_backend: str,
        operator: SelfAttentionOperator,
        cross_attention: type[CrossAttention] = CrossAttention,
    ) -> None:
        super().__init__()
        width = config.model_channels
        self.self_attn = SelfAttention(config, operator)
        self.cross_attn = cross_attention(config, attention_backend)
        self.mlp = MLP(width, int(width * config.mlp_ratio))
        self.adaln_modulation_self_attn = adaln_modulation(config, 3)
        self.adaln_modulation_cross_attn = adaln_modulation(config, 3)
        self.adaln_modulation_mlp = adaln_modulation(config, 3)

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
        steering = emb_BSD, adaln_lora_BSM
        x_BTHWD = self.part(self.self_attn, self.adaln_modulation_self_attn, x_BTHWD, *steering, rope)
        x_BTHWD = self.part(self.cross_attn, self.adaln_modulation_cross_attn, x_BTHWD, *steering, text)
        return self.part(self.mlp, self.adaln_modulation_mlp, x_BTHWD, *steering)

    def part(
        self,
        layer: nn.Module,
        adaln: nn.Sequential,
        x_BTHWD: Tensor,
        emb_BSD: Tensor,
        adaln_lora_BSM: Tensor | None,
        *args: Any,
    ) -> Tensor:
        """One of the three, normalised, modulated and gated by the noise level, and added to its input."""
        shift, scale, gate = modulation(adaln, emb_BSD, adaln_lora_BSM)
        return times(layer(modulate(x_BTHWD, shift, scale), *args), gate).add_(x_BTHWD)


class FinalLayer(nn.Module):
    """Tokens to output patches, (B, T, H, W, patch), normalised and modulated like a block's input."""

    def __init__(self, config: MinimalDiTConfig) -> None:
        super().__init__()
        self.adaln_modulation = adaln_modulation(config, 2)
        self.linear = nn.Linear(config.model_channels, math.prod(config.patch_THW) * config.out_channels, bias=False)

    def forward(self, x_BTHWD: Tensor, emb_BSD: Tensor, adaln_lora_BSM: Tensor | None) -> Tensor:
        shift, scale = modulation(self.adaln_modulation, emb_BSD, adaln_lora_BSM)
        return self.linear(modulate(x_BTHWD, shift, scale))
