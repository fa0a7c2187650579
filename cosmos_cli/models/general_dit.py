"""The general diffusion transformer of Cosmos: noisy latents, a noise level and a text in, an EDM prediction out.

It is the older sister of the minimal one: the same arithmetic under other parameter names, with one noise level per
sample, rotary positions in seconds, and a position embedding in front of every block. A control branch
(`control_branch.py`) may add to what the first blocks give. The network holds no state: what stays constant over a
generation (rotary table, position embedding, keys and values of the text) is computed once by its methods and handed
in.
"""

# B batch, C latent channels, T latent frames, H and W latent height and width; in a grid they count patches
# D model width, L tokens or text positions, R rotated pairs, S = 1 modulation step

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from cosmos_cli.models.configs import GeneralDiTConfig, GridTHW
from cosmos_cli.models.dit_layers import (
    EPS,
    EncodedText,
    KeysValues,
    LearntPositions,
    PatchEmbedding,
    check_table,
    grid_of,
    neighborhood_operator,
    plus,
    table_dtype,
    timestep_embedder,
    with_masks,
)
from cosmos_cli.models.general_dit_layers import (
    TENSOR_PLAN,
    Block,
    ConvolutionalPatchEmbedding,
    CrossAttention,
    FinalLayer,
    sincos_positions,
)
from cosmos_cli.models.rope import RotaryTable
from cosmos_cli.models.trunk import Trunk

__all__ = ["EncodedText", "GeneralDiT", "GeneralDiTTrunk", "stored_constants"]

LOGVAR_SHAPES = {"logvar.0.freqs": (128,), "logvar.0.phases": (128,), "logvar.1.weight": (1, 128)}
"""What published files hold beside the network: the head that predicts the training loss's uncertainty."""


def stored_constants(config: GeneralDiTConfig) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of what published files hold besides the parameters: the positions that rotary angles count."""
    return {"pos_embedder.seq": (max(config.max_grid_THW),)}


class GeneralDiTTrunk(Trunk):
    """Embeddings, blocks and final layer, which the network and its control branches share.

    Args:
        attention_backend: a name from `cosmos_cli.runtime.attention.available_backends()`.
    """

    config: GeneralDiTConfig
    cross_attention: type[CrossAttention] = CrossAttention
    tensor_plan = TENSOR_PLAN
    rope_in_seconds = True

    def __init__(self, config: GeneralDiTConfig, attention_backend: str = "sdpa") -> None:
        super().__init__()
        self.config = config
        width = config.model_channels
        patch_embedding = ConvolutionalPatchEmbedding if config.legacy_patch_emb else PatchEmbedding
        self.x_embedder = patch_embedding(config.channels_with_masks, config.patch_THW, width)
        if config.has_learnt_positions:
            self.extra_pos_embedder = LearntPositions(width, config.max_grid_THW)
        self.t_embedder = timestep_embedder(config)
        if config.add_augment_sigma_embedding:
            self.augment_sigma_embedder = timestep_embedder(config)
        self.affline_norm = nn.RMSNorm(width, eps=EPS) if config.affline_emb_norm else nn.Identity()
        operator = neighborhood_operator(None, attention_backend)
        self.blocks = nn.ModuleDict(
            {
                f"block{i}": Block(config, attention_backend, operator, self.cross_attention)
                for i in range(config.num_blocks)
            }
        )
        self.final_layer = FinalLayer(config)

    def embed(
        self, x_BCTHW: Tensor, condition_mask_B1THW: Tensor | None = None, padding_mask_B1HW: Tensor | None = None
    ) -> Tensor:
        """Latents and masks as tokens, (B, T, H, W, D); arguments and errors as for `GeneralDiT.forward`."""
        x_BTHWD: Tensor = self.x_embedder(with_masks(self.config, x_BCTHW, condition_mask_B1THW, padding_mask_B1HW))
        return x_BTHWD

    def embed_timesteps(
        self, timesteps_B: Tensor, augment_timesteps_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """What steers the AdaLN of every block: (B, 1, D), and the shared (B, 1, 3D), None for plain AdaLN.

        The timesteps' dtype must be the network's: times are rounded to it, as the published networks saw them.
        """
        emb_BSD, adaln_lora_BSM = self.t_embedder(timesteps_B[:, None])
        if self.config.add_augment_sigma_embedding:
            if augment_timesteps_B is None:
                augment_timesteps_B = torch.zeros_like(timesteps_B)
            emb_BSD = emb_BSD + self.augment_sigma_embedder(augment_timesteps_B.to(timesteps_B.dtype)[:, None])[0]
        elif augment_timesteps_B is not None:
            raise ValueError("this network is not told how noisy the given frames are")
        return self.affline_norm(emb_BSD), adaln_lora_BSM

    def encode_text(self, context_BLC: Tensor) -> EncodedText:
        """Every block's keys and values of a text embedding (B, L, C), so that no step computes them again."""
        return EncodedText(
            tuple(block.text_keys_values(context_BLC) for block in self.blocks.values())  # type: ignore[operator]
        )

    def text_of_blocks(self, text: Tensor | EncodedText) -> Sequence[Tensor | KeysValues]:
        """What each block takes as its `text`."""
        return text.keys_values if isinstance(text, EncodedText) else [text] * len(self.blocks)

    def position_embedding(self, grid_THW: GridTHW) -> Tensor | None:
        """The embedding added in front of every block, (T, H, W, D), None for networks without."""
        config = self.config
        if not config.extra_per_block_abs_pos_emb:
            return None
        if config.has_learnt_positions:
            return self.context.share(self.extra_pos_embedder(grid_THW), dim=1)
        ratios = (
            config.extra_t_extrapolation_ratio,
            config.extra_h_extrapolation_ratio,
            config.extra_w_extrapolation_ratio,
        )
        weight = self.output_weight
        dtype = self.dtype_beside(weight)
        positions_THWD = sincos_positions(grid_THW, config.model_channels, ratios, dtype, weight.device)
        return self.context.share(positions_THWD, dim=1)

    def tables(
        self,
        x_BTHWD: Tensor,
        fps: float | Tensor | None,
        rope: RotaryTable | None,
        positions_THWD: Tensor | None,
    ) -> tuple[RotaryTable, Tensor | None]:
        """The rotary table and the position embedding for these tokens, which are all; what is not given is built.

        Raises:
            ValueError: a table belongs to another grid, or it cannot be built.
        """
        _, T, H, W, _ = x_BTHWD.shape
        share_THW = self.context.share_grid((T, H, W))
        if rope is None:
            rope = self.rotary_table((T, H, W), fps=fps, dtype=table_dtype(x_BTHWD.dtype), device=x_BTHWD.device)
        check_table(rope, (T, H, W), share_THW)
        if positions_THWD is None:
            positions_THWD = self.position_embedding((T, H, W))
        elif positions_THWD.shape[:3] != share_THW:
            raise ValueError(
                f"the position embedding has a grid of {tuple(positions_THWD.shape[:3])}, the latents {share_THW}"
            )
        return rope, positions_THWD


class GeneralDiT(GeneralDiTTrunk):
    """Predicts what EDM preconditioning turns into denoised latents.

    Args:
        attention_backend: a name from `cosmos_cli.runtime.attention.available_backends()`.
    Source: cosmos-predict1 main, diffusion/networks/general_dit.py and general_dit_video_conditioned.py;
        cosmos-transfer1 main has the same networks.
    """

    def forward(
        self,
        x_BCTHW: Tensor,
        timesteps_B: Tensor,
        text: Tensor | EncodedText,
        *,
        condition_mask_B1THW: Tensor | None = None,
        padding_mask_B1HW: Tensor | None = None,
        augment_timesteps_B: Tensor | None = None,
        fps: float | Tensor | None = None,
        rope: RotaryTable | None = None,
        positions_THWD: Tensor | None = None,
        control_residuals: Iterable[Tensor] = (),
    ) -> Tensor:
        """The prediction, (B, out_channels, T, H, W), in the dtype of the latents.

        Args:
            x_BCTHW: noisy latents scaled for the network, in its dtype.
            timesteps_B: ln(sigma) / 4.
            text: embedding (B, L, C) of the prompt, or `encode_text` of it. Padded positions take part: no mask.
            condition_mask_B1THW: 1 on given latent frames; None is zeros, as for images. Video networks only.
            padding_mask_B1HW: 1 on padded pixels, of any size; None is zeros.
            augment_timesteps_B: ln(sigma) / 4 of the noise on the given frames; None is zeros. Only with
                `add_augment_sigma_embedding`.
            fps: frames per second, for `rope` where that is None.
            rope: `rotary_table` of this grid; None builds it, in bfloat16 when the latents are bfloat16.
            positions_THWD: `position_embedding` of this grid; None computes it.
            control_residuals: (B, T, H, W, D) each, added to the tokens after block 0, 1 and so on. They are taken one
                by one, so a generator (`sum_residuals`) may compute each when it is needed, and none is kept. Of
                branches that are parallel as this network is, which gives the same share of them.
        Raises:
            ValueError: a shape does not fit the network, the grid is larger than it supports, or there are more
                residuals than blocks.
        """
        return self.predict(
            self.embed(x_BCTHW, condition_mask_B1THW, padding_mask_B1HW),
            timesteps_B.to(x_BCTHW.dtype),
            text,
            augment_timesteps_B=augment_timesteps_B,
            fps=fps,
            rope=rope,
            positions_THWD=positions_THWD,
            control_residuals=control_residuals,
        )

    def predict(
        self,
        x_BTHWD: Tensor,
        timesteps_B: Tensor,
        text: Tensor | EncodedText,
        *,
        augment_timesteps_B: Tensor | None = None,
        fps: float | Tensor | None = None,
        rope: RotaryTable | None = None,
        positions_THWD: Tensor | None = None,
        control_residuals: Iterable[Tensor] = (),
    ) -> Tensor:
        """What `forward` gives, out of what `embed` gives; the timesteps are in the dtype of the network."""
        rope, positions_THWD = self.tables(x_BTHWD, fps, rope, positions_THWD)
        grid_THW = grid_of(x_BTHWD)
        x_BTHWD = self.context.share(x_BTHWD, dim=2)
        emb_BSD, adaln_lora_BSM = self.embed_timesteps(timesteps_B, augment_timesteps_B)
        residuals = iter(control_residuals)
        for block, block_text in zip(self.blocks.values(), self.text_of_blocks(text), strict=True):
            x_BTHWD = block(x_BTHWD, emb_BSD, adaln_lora_BSM, block_text, rope, positions_THWD)
            x_BTHWD = _plus_next(x_BTHWD, residuals)
        if next(residuals, None) is not None:
            raise ValueError(f"more control residuals than the network's {len(self.blocks)} blocks")
        return self.finish(x_BTHWD, emb_BSD, adaln_lora_BSM, grid_THW)


def _plus_next(x_BTHWD: Tensor, residuals: Iterator[Tensor]) -> Tensor:
    """Adds the next residual, if there is one; it is freed on return, before the next block needs its memory."""
    residual_BTHWD = next(residuals, None)
    return x_BTHWD if residual_BTHWD is None else plus(x_BTHWD, residual_BTHWD)
