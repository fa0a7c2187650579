"""The minimal diffusion transformer of Cosmos: latents, a noise level and a text in, a velocity out.

Tokens are patches of the latent video. Each block attends among all patches, then to the text, then transforms every
patch alone; the noise level steers all three through adaptive layer norm (AdaLN). Parameters carry the names of the
published files. The network holds no state: what stays constant over a generation (rotary table, keys and values of
the text) is computed once by its methods and handed in.
"""

# B batch, C latent channels, T latent frames, H and W latent height and width; in a grid they count patches
# D model width, L tokens or text positions, R rotated pairs, S modulation steps: 1, or one per latent frame
# q, k and v are (B, L, heads, head width)

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cosmos_cli.models.configs import GridTHW, MinimalDiTConfig, NeighborhoodConfig
from cosmos_cli.models.dit_layers import (
    EPS,
    EncodedText,
    KeysValues,
    LearntPositions,
    PatchEmbedding,
    check_table,
    grid_of,
    neighborhood_operator,
    table_dtype,
    timestep_embedder,
    with_masks,
)
from cosmos_cli.models.minimal_dit_layers import TENSOR_PLAN, Block, CrossAttention, FinalLayer
from cosmos_cli.models.rope import RotaryTable, axis_dims
from cosmos_cli.models.trunk import Trunk

__all__ = ["EncodedText", "MinimalDiT", "stored_constants"]


def stored_constants(config: MinimalDiTConfig) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of what published files hold besides the parameters: training counters and rotary constants."""
    dim_t, dim_h, _ = axis_dims(config.head_dim)
    return {
        "accum_video_sample_counter": (),
        "accum_image_sample_counter": (),
        "accum_iteration": (),
        "accum_train_in_hours": (),
        "pos_embedder.seq": (max(config.max_grid_THW),),
        "pos_embedder.dim_spatial_range": (dim_h // 2,),
        "pos_embedder.dim_temporal_range": (dim_t // 2,),
    }


class MinimalDiT(Trunk):
    """Predicts the velocity (noise minus clean latents) of noisy latents.

    Args:
        attention_backend: a name from `cosmos_cli.runtime.attention.available_backends()`.
        neighborhoods: per block the sparsity of its self-attention, None for a dense block; None for all dense.
    Raises:
        ValueError: `neighborhoods` does not have one entry per block.
    Source: cosmos-predict2 661da47, models/text2image_dit.py and models/video2world_dit.py.
    """

    config: MinimalDiTConfig
    cross_attention: type[CrossAttention] = CrossAttention
    tensor_plan = TENSOR_PLAN

    def __init__(
        self,
        config: MinimalDiTConfig,
        attention_backend: str = "sdpa",
        neighborhoods: Sequence[NeighborhoodConfig | None] | None = None,
    ) -> None:
        super().__init__()
        neighborhoods = neighborhoods if neighborhoods is not None else [None] * config.num_blocks
        if len(neighborhoods) != config.num_blocks:
            raise ValueError(f"{len(neighborhoods)} neighborhoods for {config.num_blocks} blocks")
        self.config = config
        self.rope_in_seconds = config.rope_enable_fps_modulation
        width = config.model_channels
        self.x_embedder = PatchEmbedding(config.channels_with_masks, config.patch_THW, width)
        if config.has_learnt_positions:
            self.extra_pos_embedder = LearntPositions(width, config.max_grid_THW)
        self.t_embedder = timestep_embedder(config)
        self.t_embedding_norm = nn.RMSNorm(width, eps=EPS)
        self.crossattn_proj: nn.Module = nn.Identity()
        if config.crossattn_proj_in_channels not in (None, config.crossattn_emb_channels):
            self.crossattn_proj = nn.Sequential(
                nn.Linear(config.crossattn_proj_in_channels, config.crossattn_emb_channels), nn.GELU()
            )
        self.blocks = nn.ModuleList(
            Block(
                config, attention_backend, neighborhood_operator(neighborhood, attention_backend), self.cross_attention
            )
            for neighborhood in neighborhoods
        )
        self.final_layer = FinalLayer(config)

    def forward(
        self,
        x_BCTHW: Tensor,
        timesteps_BT: Tensor,
        text: Tensor | EncodedText,
        *,
        condition_mask_B1THW: Tensor | None = None,
        padding_mask_B1HW: Tensor | None = None,
        fps: float | Tensor | None = None,
        rope: RotaryTable | None = None,
    ) -> Tensor:
        """The velocity, (B, out_channels, T, H, W), in the dtype of the latents.

        Args:
            x_BCTHW: noisy latents scaled for the network, in its dtype; given frames are inserted clean.
            timesteps_BT: rectified-flow time in (0, 1), one per sample or one per latent frame.
            text: embedding (B, L, C) of the prompt, or `encode_text` of it. Padded positions take part: no mask.
            condition_mask_B1THW: 1 on given latent frames; None is zeros, as for images. Video networks only.
            padding_mask_B1HW: 1 on padded pixels, of any size; None is zeros.
            fps: frames per second, used only with `rope_enable_fps_modulation`.
            rope: `rotary_table` of this grid; None builds it, in bfloat16 when the latents are bfloat16.
        Raises:
            ValueError: a shape does not fit the network, or the grid is larger than it supports.
        """
        return self.predict(  # no name for the tokens here: it would keep them while the blocks replace them
            self.embed(x_BCTHW, condition_mask_B1THW, padding_mask_B1HW),
            self.embed_timesteps(timesteps_BT.to(x_BCTHW.dtype)),
            text,
            fps=fps,
            rope=rope,
        )

    def predict(
        self,
        x_BTHWD: Tensor,
        steering: tuple[Tensor, Tensor | None],
        text: Tensor | EncodedText,
        *,
        fps: float | Tensor | None = None,
        rope: RotaryTable | None = None,
    ) -> Tensor:
        """What `forward` gives, out of what `embed` and `embed_timesteps` give; arguments and errors as there."""
        grid_THW = grid_of(x_BTHWD)
        if rope is None:
            rope = self.rotary_table(grid_THW, fps=fps, dtype=table_dtype(x_BTHWD.dtype), device=x_BTHWD.device)
        check_table(rope, grid_THW, self.context.share_grid(grid_THW))
        emb_BSD, adaln_lora_BSM = steering
        if emb_BSD.shape[1] not in (1, grid_THW[0]):
            raise ValueError(f"{emb_BSD.shape[1]} timesteps per sample for {grid_THW[0]} latent frames")
        x_BTHWD = self.context.share(x_BTHWD, dim=2)
        positions_THWD = self.position_embedding(grid_THW)
        texts = self.text_of_blocks(text)
        for block, block_text in zip(self.blocks, texts, strict=True):
            x_BTHWD = block(x_BTHWD, emb_BSD, adaln_lora_BSM, block_text, rope, positions_THWD)
        return self.finish(x_BTHWD, emb_BSD, adaln_lora_BSM, grid_THW)

    def embed(
        self, x_BCTHW: Tensor, condition_mask_B1THW: Tensor | None = None, padding_mask_B1HW: Tensor | None = None
    ) -> Tensor:
        """Latents and masks as tokens, (B, T, H, W, D); arguments and errors as for `forward`."""
        x_BTHWD: Tensor = self.x_embedder(with_masks(self.config, x_BCTHW, condition_mask_B1THW, padding_mask_B1HW))
        return x_BTHWD

    def embed_timesteps(self, timesteps_BT: Tensor) -> tuple[Tensor, Tensor | None]:
        """What steers the AdaLN of every block: (B, S, D), and the shared (B, S, 3D), None for plain AdaLN.

        The timesteps' dtype must be the network's: times are rounded to it, as the published networks saw them.
        """
        emb_BSD, adaln_lora_BSM = self.t_embedder(timesteps_BT)
        return self.t_embedding_norm(emb_BSD), adaln_lora_BSM

    def encode_text(self, context_BLC: Tensor) -> EncodedText:
        """Every block's keys and values of a text embedding (B, L, C), so that no step computes them again."""
        context_BLC = self.crossattn_proj(context_BLC)
        return EncodedText(
            tuple(block.cross_attn.keys_values(context_BLC) for block in self.blocks)  # type: ignore[union-attr, operator]
        )

    def text_of_blocks(self, text: Tensor | EncodedText) -> Sequence[Tensor | KeysValues]:
        """What each block takes as its `text`."""
        if isinstance(text, EncodedText):
            return text.keys_values
        return [self.crossattn_proj(text)] * len(self.blocks)

    def position_embedding(self, grid_THW: GridTHW) -> Tensor | None:
        """The learnt embedding added in front of every block, (T, H, W, D), None for networks without."""
        if not self.config.extra_per_block_abs_pos_emb:
            return None
        return self.context.share(self.extra_pos_embedder(grid_THW), dim=1)
