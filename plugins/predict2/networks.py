"""Loading what the models beside Video2World are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from cosmos_cli import output, registry
from cosmos_cli.checkpoints.loading import load_network, wanted_keys
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.models.t5 import CachedTextEncoder
from cosmos_cli.models.wan_vae import WanVAE, WanVAEConfig
from cosmos_cli.runtime.budget import PARKED, RESIDENT
from cosmos_cli.runtime.devices import choose_device, choose_dtype
from cosmos_plugins.predict2.checks import Weights
from cosmos_plugins.predict2.settings import DitSettings, RunSettings, TextSettings
from cosmos_plugins.predict2.variants import SampleVariant

M = TypeVar("M", bound=nn.Module)


def choose_place(settings: RunSettings) -> tuple[torch.device, torch.dtype]:
    """Where the networks run and in which precision. Raises InputError: there is no such device."""
    device = choose_device(settings.device)
    return device, choose_dtype(settings.precision, device)


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


def load_guardrails(settings: RunSettings, device: torch.device) -> Guardrails:
    """The guardrails that are installed, none if they are disabled."""
    if settings.disable_guardrail:
        return Guardrails({})
    return Guardrails(
        registry.current().create_extensions("guardrails", device=str(device), offload=settings.offload_guardrail)
    )
