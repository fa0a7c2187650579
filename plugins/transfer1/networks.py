"""Building and loading the networks of a Transfer1 model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from cosmos_cli.checkpoints.loading import NOT_LEARNT, load_network, wanted_keys
from cosmos_cli.generation.load import BuildNetworks, Built, Where
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.cosmos_tokenizer import ChunkedTokenizer, load_tokenizer, read_statistics
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_plugins.transfer1.requests import TransferSettings
from cosmos_plugins.transfer1.samples import Paths
from cosmos_plugins.transfer1.variants import CHUNK_FRAMES, VARIANTS, Variant

SIGMA_DATA = 0.5
"""Standard deviation of the latents that the networks work on."""

IGNORED = (*NOT_LEARNT, "*logvar.*")
"""What files hold besides the weights of a network."""


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
        tokenizer = load_chunked_tokenizer(paths.tokenizer, variant, dtype=where.dtype, device=where.tokenizer)
        return Built(base, tokenizer, loaded)

    return build


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
    """The base network.

    Files carry its keys under `base_model.net.`, those for driving scenes under `net.`, and distilled ones, which hold
    the control branch too, under `net.base_model.net.`.
    """
    prefix = "net." if driving else "net.base_model.net." if distilled else "base_model.net."
    return load_network(
        lambda: GeneralDiT(variant.base(driving=driving), attention),
        path,
        rename=wanted_keys(prefix, ignored=(*IGNORED, *(["net.net_ctrl.*"] if distilled else []))),
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
    """One control branch; its keys stand under `net.`, in distilled files, which hold the base too, `net.net_ctrl.`."""
    return load_network(
        lambda: ControlBranch(variant.branch(driving=driving), attention),
        path,
        rename=(
            wanted_keys("net.net_ctrl.", ignored=(*IGNORED, "net.base_model.*"))
            if distilled
            else wanted_keys("net.", ignored=IGNORED)
        ),
        dtype=dtype,
        device=device,
    )


def load_chunked_tokenizer(
    folder: Path, variant: Variant, *, chunk_frames: int = CHUNK_FRAMES, dtype: torch.dtype, device: torch.device
) -> ChunkedTokenizer:
    """The tokenizer for chunks of `chunk_frames` frames, with its statistics."""
    network = load_tokenizer(folder, config=variant.tokenizer, dtype=dtype, device=device)
    statistics = read_statistics(folder / "mean_std.pt", network.config.latent_channels)
    return ChunkedTokenizer(network, statistics, chunk_frames=chunk_frames, sigma_data=SIGMA_DATA)
