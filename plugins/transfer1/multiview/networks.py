"""Building and loading the networks of a model for several cameras."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.diffusion.edm import SIGMA_DATA
from cosmos_cli.generation.load import BuildNetworks, Built, Where
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer
from cosmos_cli.models.cosmos_tokenizer_files import load_chunked_tokenizer
from cosmos_cli.models.multiview_control_branch import MultiViewControlBranch
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_plugins.transfer1.formats import BASE, BRANCH
from cosmos_plugins.transfer1.multiview.cameras import cameras_of
from cosmos_plugins.transfer1.multiview.requests import MultiviewSettings
from cosmos_plugins.transfer1.multiview.variants import CLIP_FRAMES, MULTIVIEW_VARIANTS, MultiviewVariant
from cosmos_plugins.transfer1.samples import Paths
from cosmos_plugins.transfer1.variants import VARIANTS


def networks(
    settings: MultiviewSettings, paths: Paths, branches: Iterable[Path]
) -> BuildNetworks[MultiViewDiT, ChunkedTokenizer]:
    """What builds the base, these control branches and the tokenizer."""
    variant, num_views = MULTIVIEW_VARIANTS[settings.model_size], len(cameras_of(settings.waymo_example))
    files = list(branches)

    def build(where: Where) -> Built[MultiViewDiT, ChunkedTokenizer]:
        network: dict[str, Any] = {"attention": where.attention, "dtype": where.dtype, "device": where.dit}
        base = load_base(paths.base, variant, num_views, **network)
        loaded = {file: load_branch(file, variant, num_views, **network) for file in files}
        tokenizer = load_chunked_tokenizer(
            paths.tokenizer,
            config=VARIANTS[settings.model_size].tokenizer,
            chunk_frames=CLIP_FRAMES,
            sigma_data=SIGMA_DATA,
            dtype=where.dtype,
            device=where.tokenizer,
        )
        return Built(base, tokenizer, loaded)

    return build


def load_base(
    path: Path,
    variant: MultiviewVariant,
    num_views: int,
    *,
    attention: str,
    dtype: torch.dtype,
    device: torch.device,
) -> MultiViewDiT:
    """The base network."""
    config = variant.base(num_views)
    return load_network(lambda: MultiViewDiT(config, attention), path, naming=BASE, dtype=dtype, device=device)


def load_branch(
    path: Path,
    variant: MultiviewVariant,
    num_views: int,
    *,
    attention: str,
    dtype: torch.dtype,
    device: torch.device,
) -> MultiViewControlBranch:
    """One control branch."""
    config = variant.branch(num_views)
    return load_network(
        lambda: MultiViewControlBranch(config, attention), path, naming=BRANCH, dtype=dtype, device=device
    )
