"""Building and loading the networks of a Transfer1 model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from cosmos_cli.checkpoints.loading import check_network, load_network
from cosmos_cli.diffusion.edm import SIGMA_DATA
from cosmos_cli.generation.load import BuildNetworks, Built, Where
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.cosmos_tokenizer_files import check_chunked_tokenizer, load_chunked_tokenizer
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_plugins.transfer1.formats import BASE, BRANCH, DISTILLED_BASE, DISTILLED_BRANCH
from cosmos_plugins.transfer1.requests import TransferSettings
from cosmos_plugins.transfer1.samples import Paths
from cosmos_plugins.transfer1.variants import VARIANTS, Variant


def networks(
    settings: TransferSettings, paths: Paths, branches: Iterable[Path]
) -> BuildNetworks[GeneralDiT, ChunkedTokenizer]:
    """What builds the base, these control branches and the tokenizer."""
    variant, files = VARIANTS[settings.model_size], list(branches)

    def build(where: Where) -> Built[GeneralDiT, ChunkedTokenizer]:
        network: dict[str, Any] = {
            "driving": settings.is_av_sample,
            "distilled": settings.use_distilled,
            "attention": where.attention,
            "dtype": where.dtype,
            "device": where.dit,
        }
        base = load_base(paths.base, variant, **network)
        loaded = {file: load_branch(file, variant, **network) for file in files}
        tokenizer = load_chunked_tokenizer(
            paths.tokenizer,
            config=variant.tokenizer,
            chunk_frames=variant.chunk_frames,
            sigma_data=SIGMA_DATA,
            dtype=where.dtype,
            device=where.tokenizer,
        )
        return Built(base, tokenizer, loaded)

    return build


def check_files(settings: TransferSettings, paths: Paths) -> None:
    """Whether the files hold the base, the control branches and the tokenizer of these settings; no weight is read.

    Raises:
        CheckpointError: one is missing, damaged or of another network.
    """
    variant = VARIANTS[settings.model_size]
    driving, distilled = settings.is_av_sample, settings.use_distilled
    base = variant.base(driving=driving, distilled=distilled)
    branch = variant.branch(driving=driving, distilled=distilled)
    check_network(lambda: GeneralDiT(base), paths.base, naming=DISTILLED_BASE if distilled else BASE)
    for path in paths.controls.values():
        check_network(lambda: ControlBranch(branch), path, naming=DISTILLED_BRANCH if distilled else BRANCH)
    check_chunked_tokenizer(paths.tokenizer, config=variant.tokenizer)


def load_base(
    path: Path,
    variant: Variant,
    *,
    driving: bool,
    distilled: bool,
    attention: str,
    dtype: torch.dtype,
    device: torch.device,
) -> GeneralDiT:
    """The base network; distilled files hold the control branch, too."""
    return load_network(
        lambda: GeneralDiT(variant.base(driving=driving, distilled=distilled), attention),
        path,
        naming=DISTILLED_BASE if distilled else BASE,
        dtype=dtype,
        device=device,
    )


def load_branch(
    path: Path,
    variant: Variant,
    *,
    driving: bool,
    distilled: bool,
    attention: str,
    dtype: torch.dtype,
    device: torch.device,
) -> ControlBranch:
    """One control branch; distilled files hold the base, too."""
    return load_network(
        lambda: ControlBranch(variant.branch(driving=driving, distilled=distilled), attention),
        path,
        naming=DISTILLED_BRANCH if distilled else BRANCH,
        dtype=dtype,
        device=device,
    )
