"""What a run for several cameras takes of a device, stage by stage."""

from __future__ import annotations

import torch

from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.multiview_control_branch import MultiViewControlBranch
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.models.t5 import NUM_TOKENS
from cosmos_cli.models.working_memory import denoising_bytes
from cosmos_cli.runtime.memory.residence import NetworkSize, Stage
from cosmos_plugins.transfer1.memory import stages_of
from cosmos_plugins.transfer1.multiview.cameras import cameras_of
from cosmos_plugins.transfer1.multiview.inputs import weight_paths
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.multiview.variants import CLIP_FRAMES, MULTIVIEW_VARIANTS
from cosmos_plugins.transfer1.variants import LATENT_PX, VARIANTS


def plan_stages(settings: MultiviewSettings, request: MultiviewRequest, dtype: torch.dtype) -> list[Stage]:
    """The stages of a run, by the sizes of its networks and of one clip of all views."""
    variant, num_views = MULTIVIEW_VARIANTS[settings.model_size], len(cameras_of(settings.waymo_example))
    paths = weight_paths(settings, request)
    num_branches = len(paths.controls)
    base, branch = variant.base(num_views), variant.branch(num_views)
    with torch.device("meta"):
        of_base = NetworkSize.of(MultiViewDiT(base), dtype)
        of_branch = NetworkSize.of(MultiViewControlBranch(branch), dtype)
        tokenizer = CosmosTokenizer(VARIANTS[settings.model_size].tokenizer)
    latent_frames = num_views * tokenizer.num_latent_frames(CLIP_FRAMES)
    working_bytes = denoising_bytes(
        base,
        (latent_frames, variant.height // LATENT_PX, variant.width // LATENT_PX),
        dtype,
        num_branches=num_branches,
        num_branch_blocks=branch.num_blocks,
        text_tokens=num_views * NUM_TOKENS,
    )
    return stages_of(
        settings,
        paths.text_encoder,
        tokenizer,
        (variant.height, variant.width),
        (of_base, *[of_branch] * num_branches),
        denoising_working_bytes=working_bytes,
        dtype=dtype,
    )
