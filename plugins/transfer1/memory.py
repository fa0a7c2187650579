"""What a Transfer run takes of a device, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.t5 import encoder_size
from cosmos_cli.models.working_memory import cosmos_tokenizer_bytes, denoising_bytes
from cosmos_cli.runtime.memory.residence import PARKED, RESIDENT, NetworkSize, Stage, streamed
from cosmos_plugins.transfer1.inputs import weight_paths
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.variants import CHUNK_FRAMES, LATENT_PX, VARIANTS

if TYPE_CHECKING:
    from cosmos_plugins.transfer1.multiview.requests import MultiviewSettings

TEXT, TOKENIZER, DIT = "text encoder", "tokenizer", "diffusion transformer"

OFFLOADED_BLOCKS = 4
"""Blocks on the device at a time with --offload-diffusion-transformer: enough for the next to arrive in time."""


def plan_stages(settings: TransferSettings, requests: Sequence[TransferRequest], dtype: torch.dtype) -> list[Stage]:
    """The stages of a run, by the sizes of its networks and the largest picture that the model makes."""
    variant, driving = VARIANTS[settings.model_size], settings.is_av_sample
    height, width = max(variant.sizes.values(), key=lambda size: size[0] * size[1])
    paths = [weight_paths(settings, request) for request in requests]
    num_branches = len({file for each in paths for file in each.controls.values()})
    most_at_once = max(len(each.controls) for each in paths)
    base, branch = variant.base(driving=driving), variant.branch(driving=driving)
    with torch.device("meta"):
        of_base = NetworkSize.of(GeneralDiT(base), dtype)
        of_branch = NetworkSize.of(ControlBranch(branch), dtype)
        tokenizer = CosmosTokenizer(variant.tokenizer)
    latents = (tokenizer.num_latent_frames(CHUNK_FRAMES), height // LATENT_PX, width // LATENT_PX)
    working_bytes = denoising_bytes(
        base, latents, dtype, num_branches=most_at_once, num_branch_blocks=branch.num_blocks
    )
    return stages_of(
        settings,
        paths[0].text_encoder,
        tokenizer,
        (height, width),
        (of_base, *[of_branch] * num_branches),
        denoising_working_bytes=working_bytes,
        dtype=dtype,
    )


def stages_of(
    settings: TransferSettings | MultiviewSettings,
    text_encoder: Path,
    tokenizer: CosmosTokenizer,
    size_px: tuple[int, int],
    networks: Sequence[NetworkSize],
    *,
    denoising_working_bytes: int,
    dtype: torch.dtype,
) -> list[Stage]:
    """The stages of a run with these networks, of one view or of several.

    Args:
        text_encoder: its folder.
        tokenizer: may be on the meta device.
        size_px: height and width of what the tokenizer codes.
        networks: base and branches.
        denoising_working_bytes: what these take beside their weights.
    """
    return [
        Stage(
            TEXT,
            (encoder_size(text_encoder, torch.float32),),
            is_helper=True,
            highest=PARKED if settings.offload_text_encoder_model else RESIDENT,
        ),
        Stage(
            TOKENIZER,
            (NetworkSize.of(tokenizer, dtype),),
            working_bytes=cosmos_tokenizer_bytes(tokenizer.config, *size_px, dtype),
        ),
        Stage(
            DIT,
            tuple(networks),
            working_bytes=denoising_working_bytes,
            highest=streamed(OFFLOADED_BLOCKS) if settings.offload_diffusion_transformer else RESIDENT,
        ),
    ]
