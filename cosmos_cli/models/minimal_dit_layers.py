"""The layers of the minimal diffusion transformer, from the latents' patches to the velocity's."""

# B batch, C latent channels, T latent frames, H and W latent height and width; in a grid they count patches
# D model width, L tokens or text positions, S modulation steps: 1, or one per latent frame
# q, k and v are (B, L, heads, head width)

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosmos_cli.models.neighborhood import NeighborhoodConfig, neighborhood_attention
from cosmos_cli.models.rope import GridTHW, RotaryTable, rotate
from cosmos_cli.runtime.attention import attention

KeysValues = tuple[Tensor, Tensor]
SelfAttentionOperator = Callable[[Tensor, Tensor, Tensor, GridTHW], Tensor]

EPS = 1e-6


@dataclass(frozen=True)
class MinimalDiTConfig:
    """The shape of a network, under the names that the published configurations use.

    Args:
        model_channels: model width.
        in_channels: latent channels, without the mask channels.
        condition_mask: a video network, with one more input channel that marks the given latent frames.
        concat_padding_mask: one more input channel that marks padded pixels.
        crossattn_proj_in_channels: width of the text embedding when it must first be projected to
            `crossattn_emb_channels`; the same width, or None, means that it is used as it is.
        use_adaln_lora: low-rank modulation around a shared one; False is one full matrix per sub-layer.
        max_img_h, max_img_w, max_frames: largest latent size.
        rope_enable_fps_modulation: temporal positions count 1/base_fps seconds rather than latent frames.
        extra_per_block_abs_pos_emb: a learnt position embedding is added in front of every block.
    Raises:
        ValueError: the heads do not divide the width, or are too narrow for three rotary axes.
    """

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
    crossattn_proj_in_channels: int | None = None
    use_adaln_lora: bool = True
    adaln_lora_dim: int = 256
    max_img_h: int = 240
    max_img_w: int = 240
    max_frames: int = 128
    rope_h_extrapolation_ratio: float = 1.0
    rope_w_extrapolation_ratio: float = 1.0
    rope_t_extrapolation_ratio: float = 1.0
    rope_enable_fps_modulation: bool = False
    base_fps: int = 24
    extra_per_block_abs_pos_emb: bool = False

    def __post_init__(self) -> None:
        if self.model_channels % self.num_heads or self.head_dim % 2 or self.head_dim < 12:
            raise ValueError(
                f"{self.num_heads} heads must split a width of {self.model_channels} into even parts of 12 or more"
            )

    @property
    def head_dim(self) -> int:
        return self.model_channels // self.num_heads

    @property
    def max_grid_THW(self) -> GridTHW:
        return (
            self.max_frames // self.patch_temporal,
            self.max_img_h // self.patch_spatial,
            self.max_img_w // self.patch_spatial,
        )

    @property
    def patch_THW(self) -> GridTHW:
        return self.patch_temporal, self.patch_spatial, self.patch_spatial


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

    def __init__(self, config: MinimalDiTConfig) -> None:
        super().__init__()
        channels = config.in_channels + config.condition_mask + config.concat_padding_mask
        self.proj = nn.Sequential(
            Patchify(config.patch_THW),
            nn.Linear(channels * math.prod(config.patch_THW), config.model_channels, bias=False),
        )

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return self.proj(x_BCTHW)


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


class Attention(nn.Module):
    """Projections and norms that self- and cross-attention share."""

    def __init__(self, config: MinimalDiTConfig, context_channels: int) -> None:
        super().__init__()
        width, self.head_dim = config.model_channels, config.head_dim
        self.q_proj = nn.Linear(width, width, bias=False)
        self.q_norm = nn.RMSNorm(self.head_dim, eps=EPS)
        self.k_proj = nn.Linear(context_channels, width, bias=False)
        self.k_norm = nn.RMSNorm(self.head_dim, eps=EPS)
        self.v_proj = nn.Linear(context_channels, width, bias=False)
        self.output_proj = nn.Linear(width, width, bias=False)

    def queries(self, x_BLD: Tensor) -> Tensor:
        return self.q_norm(self.q_proj(x_BLD).unflatten(-1, (-1, self.head_dim)))

    def keys_values(self, context_BLC: Tensor) -> KeysValues:
        heads = (-1, self.head_dim)
        keys = self.k_norm(self.k_proj(context_BLC).unflatten(-1, heads))
        return keys, self.v_proj(context_BLC).unflatten(-1, heads)


class SelfAttention(Attention):
    """Attention among all tokens.

    `operator` computes it from rotated q, k, v and the grid; replace it to attend in another way, for instance over
    the tokens of several devices.
    """

    def __init__(self, config: MinimalDiTConfig, operator: SelfAttentionOperator) -> None:
        super().__init__(config, config.model_channels)
        self.operator = operator

    def forward(self, x_BTHWD: Tensor, rope: RotaryTable) -> Tensor:
        _, T, H, W, _ = x_BTHWD.shape
        x_BLD = x_BTHWD.flatten(1, 3)
        q = rotate(self.queries(x_BLD), rope)
        k, v = self.keys_values(x_BLD)
        out = self.operator(q, rotate(k, rope), v, (T, H, W))
        return self.output_proj(out.flatten(2)).view(x_BTHWD.shape)


class CrossAttention(Attention):
    """Attention of every token to the text, given as an embedding or as its keys and values."""

    def __init__(self, config: MinimalDiTConfig, attention_backend: str) -> None:
        super().__init__(config, config.crossattn_emb_channels)
        self.attention_backend = attention_backend

    def forward(self, x_BTHWD: Tensor, text: Tensor | KeysValues) -> Tensor:
        k, v = self.keys_values(text) if isinstance(text, Tensor) else text
        out = attention(self.queries(x_BTHWD.flatten(1, 3)), k, v, self.attention_backend)
        return self.output_proj(out.flatten(2)).view(x_BTHWD.shape)


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


class Block(nn.Module):
    """Self-attention, cross-attention and MLP, each normalised, modulated and gated by the noise level.

    Every intermediate is rounded to the network's dtype, as in the original; a fused version would differ in the
    last bits. A block never writes into its inputs.
    """

    def __init__(self, config: MinimalDiTConfig, attention_backend: str, operator: SelfAttentionOperator) -> None:
        super().__init__()
        width = config.model_channels
        self.self_attn = SelfAttention(config, operator)
        self.cross_attn = CrossAttention(config, attention_backend)
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
        shift, scale, gate = modulation(self.adaln_modulation_self_attn, emb_BSD, adaln_lora_BSM)
        x_BTHWD = times(self.self_attn(modulate(x_BTHWD, shift, scale), rope), gate).add_(x_BTHWD)
        shift, scale, gate = modulation(self.adaln_modulation_cross_attn, emb_BSD, adaln_lora_BSM)
        x_BTHWD = times(self.cross_attn(modulate(x_BTHWD, shift, scale), text), gate).add_(x_BTHWD)
        shift, scale, gate = modulation(self.adaln_modulation_mlp, emb_BSD, adaln_lora_BSM)
        return times(self.mlp(modulate(x_BTHWD, shift, scale)), gate).add_(x_BTHWD)


class FinalLayer(nn.Module):
    """Tokens to output patches, (B, T, H, W, patch), normalised and modulated like a block's input."""

    def __init__(self, config: MinimalDiTConfig) -> None:
        super().__init__()
        self.adaln_modulation = adaln_modulation(config, 2)
        self.linear = nn.Linear(config.model_channels, math.prod(config.patch_THW) * config.out_channels, bias=False)

    def forward(self, x_BTHWD: Tensor, emb_BSD: Tensor, adaln_lora_BSM: Tensor | None) -> Tensor:
        shift, scale = modulation(self.adaln_modulation, emb_BSD, adaln_lora_BSM)
        return self.linear(modulate(x_BTHWD, shift, scale))


def adaln_modulation(config: MinimalDiTConfig, num_chunks: int) -> nn.Sequential:
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


def modulate(x_BTHWD: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without weights, then times 1 + scale, plus shift."""
    normed = F.layer_norm(x_BTHWD, x_BTHWD.shape[-1:], eps=EPS)
    return times(normed, 1 + scale).add_(shift)


def times(x: Tensor, factor: Tensor) -> Tensor:
    """x * factor; overwrites x, a temporary of the caller, unless gradients may need it."""
    return x * factor if torch.is_grad_enabled() else x.mul_(factor)


def neighborhood_operator(config: NeighborhoodConfig | None, backend: str) -> SelfAttentionOperator:
    """Self-attention over a grid of tokens: sparse with a config, dense without."""
    if config is None:
        return lambda q, k, v, grid_THW: attention(q, k, v, backend)
    return lambda q, k, v, grid_THW: neighborhood_attention(q, k, v, grid_THW, config, backend)
