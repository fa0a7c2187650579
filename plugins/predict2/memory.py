"""What Predict2 models take of a device, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from cosmos_cli.models.configs import MinimalDiTConfig
from cosmos_cli.models.t5 import encoder_size
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_cli.models.working_memory import denoising_bytes, wan_vae_bytes
from cosmos_cli.runtime.memory.residence import PARKED, RESIDENT, NetworkSize, Stage, streamed

TEXT, TOKENIZER, DIT = "text encoder", "tokenizer", "diffusion transformer"

OFFLOADED_BLOCKS = 4
"""Blocks on the device at a time with --offload-diffusion-transformer: enough for the next to arrive in time."""


def plan_stages(
    build: Callable[[], nn.Module],
    config: MinimalDiTConfig,
    build_vae: Callable[[], WanVAE],
    text_encoder: Path | None,
    *,
    size_px: tuple[int, int, int],
    dtype: torch.dtype,
    text_dtype: torch.dtype,
    offload_text_encoder: bool,
    offload_dit: bool,
    num_clips: int = 1,
) -> list[Stage]:
    """The stages of a run, by the sizes of its networks and of what they make.

    Args:
        build, config: the diffusion transformer and its shape.
        text_encoder: its folder; None for models without text.
        size_px: frames, height and width of the longest clip and the largest picture.
        num_clips: clips of that size that are denoised together, such as views, each with texts of its own.
    """
    with torch.device("meta"):
        dit, vae = NetworkSize.of(build(), dtype), build_vae()
    frames, height, width = size_px
    factor = vae.spatial_factor
    latents = (num_clips * ((frames - 1) // vae.temporal_factor + 1), height // factor, width // factor)
    stages = [
        Stage(TOKENIZER, (NetworkSize.of(vae, dtype),), wan_vae_bytes(vae.config, height, width, dtype)),
        Stage(
            DIT,
            (dit,),
            denoising_bytes(config, latents, dtype, num_texts=2 * num_clips),
            highest=streamed(OFFLOADED_BLOCKS) if offload_dit else RESIDENT,
        ),
    ]
    if text_encoder is not None:
        highest = PARKED if offload_text_encoder else RESIDENT
        stages.append(Stage(TEXT, (encoder_size(text_encoder, text_dtype),), is_helper=True, highest=highest))
    return stages
