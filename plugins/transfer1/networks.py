"""Building and loading the networks of a Transfer1 model, and the guardrails around it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cosmos_cli.checkpoints.loading import NOT_LEARNT, load_network, wanted_keys
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.guardrails.choice import load_guardrails
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.cosmos_tokenizer import ChunkedTokenizer, load_tokenizer, read_statistics
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.runtime.devices import choose_device
from cosmos_plugins.transfer1.variants import CHUNK_FRAMES, Variant

if TYPE_CHECKING:
    from cosmos_plugins.transfer1.multiview.requests import MultiviewSettings
    from cosmos_plugins.transfer1.requests import TransferSettings

SIGMA_DATA = 0.5
"""Standard deviation of the latents that the networks work on."""

MIN_SAFE_SHARE = 0.95
"""Of the frames of a video that may be written."""

IGNORED = (*NOT_LEARNT, "*logvar.*")
"""What files hold besides the weights of a network."""


def checked_guardrails(settings: TransferSettings | MultiviewSettings, prompts: Iterable[Iterable[str]]) -> Guardrails:
    """The guardrails of a run, which nobody can leave out; to be made before any network is loaded.

    Args:
        prompts: of each request.
    Raises:
        GuardrailBlocked: all requests are refused.
        CheckpointError: files of the guardrails are missing or damaged.
    """
    guardrails = load_guardrails(
        settings.checkpoint_dir,
        settings,
        is_published=settings.model_size != "tiny",
        device=choose_device(settings.device),
        offload=settings.offload_guardrail_models or getattr(settings, "max_memory", None) is not None,
        min_safe_share=MIN_SAFE_SHARE,
    )
    guardrails.check_ahead(prompts)
    return guardrails


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
