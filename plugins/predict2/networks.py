"""Loading what the models beside Video2World are made of, and the guardrails of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import nn

from cosmos_cli import output
from cosmos_cli.checkpoints.loading import load_network, wanted_keys
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.guardrails.choice import load_guardrails
from cosmos_cli.models.t5 import CachedTextEncoder
from cosmos_cli.models.wan_vae import WanVAE, WanVAEConfig
from cosmos_cli.runtime.budget import PARKED, RESIDENT
from cosmos_cli.runtime.devices import choose_device
from cosmos_plugins.predict2.checks import Weights
from cosmos_plugins.predict2.requests import Video2WorldSettings
from cosmos_plugins.predict2.settings import DitSettings, RunSettings, TextSettings
from cosmos_plugins.predict2.variants import SampleVariant

M = TypeVar("M", bound=nn.Module)

MIN_SAFE_SHARE = 1.0
"""Of the frames of a video that may be written."""


def load_networks(
    settings: DitSettings,
    weights: Weights,
    variant: SampleVariant,
    build: Callable[[], M],
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[M, WanVAE]:
    """The DiT that `build` makes and the tokenizer, filled.

    Raises:
        CheckpointError: weights are missing, damaged or of another network.
        InputError: the attention backend is not to be had.
    """
    with output.progress(f"Loading {settings.model_size} on {device}"):
        rename = wanted_keys(ema=settings.load_ema)
        dit = load_network(build, weights.dit, rename=rename, dtype=dtype, device=device)
        vae = load_network(lambda: WanVAE(WanVAEConfig(**variant.vae)), weights.tokenizer, dtype=dtype, device=device)
    return dit, vae


def load_text_encoder(settings: TextSettings, weights: Weights, device: torch.device) -> CachedTextEncoder:
    """The text encoder, which loads itself when a prompt is not in the cache."""
    return CachedTextEncoder(
        weights.text_encoder,
        settings.cache_folder / "text-embeddings",
        dtype=torch.bfloat16 if settings.downcast_text_encoder else torch.float32,
        device=device,
        residence=PARKED if settings.offload_text_encoder else RESIDENT,
        on_load=lambda: output.status("Loading the text encoder"),
    )


def checked_guardrails(settings: RunSettings | Video2WorldSettings, prompts: Iterable[str] = ()) -> Guardrails:
    """The guardrails of a run, none if they are disabled; to be made before any network is loaded.

    Args:
        prompts: of each request.
    Raises:
        GuardrailBlocked: all prompts are refused.
        CheckpointError: files of the guardrails are missing or damaged.
    """
    if settings.disable_guardrail:
        return Guardrails({}, gap="guardrail: disabled, nothing is checked")
    guardrails = load_guardrails(
        None if settings.model_size == "tiny" else settings.checkpoint_dir,
        device=choose_device(settings.device),
        offload=settings.offload_guardrail or getattr(settings, "max_memory", None) is not None,
        min_safe_share=MIN_SAFE_SHARE,
    )
    guardrails.check_ahead([prompt] for prompt in prompts)
    return guardrails
