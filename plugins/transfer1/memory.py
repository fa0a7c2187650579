"""What a Transfer run takes of a device, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.t5 import encoder_size
from cosmos_cli.models.working_memory import cosmos_tokenizer_bytes, denoising_bytes
from cosmos_cli.runtime.budget import PARKED, RESIDENT, NetworkSize, Stage, streamed
from cosmos_plugins.transfer1.inputs import weight_paths
from cosmos_plugins.transfer1.networks import base_config, branch_config, tokenizer_config
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.variants import CHUNK_FRAMES, LATENT_PX, VARIANTS

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
    base, branch = base_config(variant, driving=driving), branch_config(variant, driving=driving)
    with torch.device("meta"):
        of_base = NetworkSize.of(GeneralDiT(base), dtype)
        of_branch = NetworkSize.of(ControlBranch(branch), dtype)
        tokenizer = CosmosTokenizer(tokenizer_config(variant))
    latents = (tokenizer.num_latent_frames(CHUNK_FRAMES), height // LATENT_PX, width // LATENT_PX)
    return [
        Stage(
            TEXT,
            (encoder_size(paths[0].text_encoder, torch.float32),),
            is_helper=True,
            highest=PARKED if settings.offload_text_encoder_model else RESIDENT,
        ),
        Stage(
            TOKENIZER,
            (NetworkSize.of(tokenizer, dtype),),
            working_bytes=cosmos_tokenizer_bytes(tokenizer.config, height, width, dtype),
        ),
        Stage(
            DIT,
            (of_base, *[of_branch] * num_branches),
            working_bytes=denoising_bytes(
                base, latents, dtype, num_branches=most_at_once, num_branch_blocks=branch.num_blocks
            ),
            highest=streamed(OFFLOADED_BLOCKS) if settings.offload_diffusion_transformer else RESIDENT,
        ),
    ]
