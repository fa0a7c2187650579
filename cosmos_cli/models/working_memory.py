"""How much memory networks take beside their weights while they work: estimates for planning, on the high side.

The factors were counted on a CPU, as the peak of what torch allocates during one call, divided by the size of the
tensor that dominates; they did not change between widths of 256 and 512. What a GPU's convolutions take as workspace
comes on top.
"""

# T latent frames, H and W latent height and width

from __future__ import annotations

import math

import torch

from cosmos_cli.models.configs import CosmosTokenizerConfig, DiTConfig, WanVAEConfig

_TOKEN_TENSORS = {torch.float32: 8.5, torch.bfloat16: 13.1}
"""Tensors (tokens, model width) in a block at its peak: in bfloat16 when queries and keys turn, in float32, and else
in the MLP, whose hidden tensor counts four times."""

_TOKEN_TENSORS_PER_BRANCH = 5
"""The same that a control branch adds: its tokens, their residual and the sum, its hint and position embedding."""

_TOKENIZER_ELEMENTS_PER_PX = 1000
"""Elements per pixel of a frame, for 128 channels; 868 were counted for 192 x 320 pixels, 976 to 1062 for 96 x 128."""

_VAE_ELEMENTS_PER_PX = 3750
"""Elements per pixel of a frame, for 96 channels; 3706 were counted for 64 x 96 pixels and larger."""


def denoising_bytes(
    config: DiTConfig,
    size_THW: tuple[int, int, int],
    dtype: torch.dtype,
    *,
    num_branches: int = 0,
    num_branch_blocks: int = 0,
    num_texts: int = 2,
    text_tokens: int = 512,
) -> int:
    """One guided step of a diffusion transformer, batch 1, with what is kept over all steps.

    Args:
        size_THW: of the latents.
        num_branches, num_branch_blocks: control branches, and the blocks of each.
        num_texts: whose keys and values are kept, the negative prompt included.
    """
    tokens = math.prod(n // p for n, p in zip(size_THW, config.patch_THW, strict=True))
    token_tensors = _TOKEN_TENSORS.get(dtype, _TOKEN_TENSORS[torch.float32])
    token_tensors += config.extra_per_block_abs_pos_emb + _TOKEN_TENSORS_PER_BRANCH * num_branches
    activations = token_tensors * tokens * config.model_channels * dtype.itemsize
    num_blocks = config.num_blocks + num_branches * num_branch_blocks
    texts = 2 * num_texts * num_blocks * text_tokens * config.model_channels * dtype.itemsize
    rotary_tables = (1 + num_branches) * tokens * config.head_dim * torch.float32.itemsize
    return int(activations) + texts + rotary_tables


def cosmos_tokenizer_bytes(config: CosmosTokenizerConfig, height: int, width: int, dtype: torch.dtype) -> int:
    """Coding one clip with one latent frame per step, at a size in pixels."""
    return _TOKENIZER_ELEMENTS_PER_PX * height * width * config.channels * dtype.itemsize // 128


def wan_vae_bytes(config: WanVAEConfig, height: int, width: int, dtype: torch.dtype) -> int:
    """Decoding one clip with one latent frame per step, or encoding its first frames, at a size in pixels."""
    return _VAE_ELEMENTS_PER_PX * height * width * config.dim * dtype.itemsize // 96
