"""The network that continues a picture or clip, sparse where asked for, with a LoRA merged in."""

from __future__ import annotations

from cosmos_cli.checkpoints.lora import merge_lora
from cosmos_cli.generation.load import BuildNetworks
from cosmos_cli.models.configs import NeighborhoodConfig
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_plugins.predict2.networks import dit_and_tokenizer
from cosmos_plugins.predict2.variants import SPARSE_PATTERNS, VARIANTS
from cosmos_plugins.predict2.video2world.inputs import weight_paths
from cosmos_plugins.predict2.video2world.requests import Video2WorldSettings


def networks(settings: Video2WorldSettings) -> BuildNetworks[MinimalDiT, WanVAE]:
    """What builds the networks of these settings."""
    variant = VARIANTS[settings.model_size]

    def merge(dit: MinimalDiT) -> None:
        if settings.lora_path is not None:
            merge_lora(dit, settings.lora_path, alpha=settings.lora_alpha, ema=settings.load_ema)

    return dit_and_tokenizer(
        weight_paths(settings),
        variant.vae,
        lambda attention: MinimalDiT(variant.dit, attention, _neighborhoods(settings)),
        ema=settings.load_ema and settings.lora_path is None,
        finish=merge,
    )


def _neighborhoods(settings: Video2WorldSettings) -> list[NeighborhoodConfig | None] | None:
    if not settings.natten:
        return None
    layers = VARIANTS[settings.model_size].sparse_layers
    return [None if letter == "-" else SPARSE_PATTERNS[letter] for letter in layers]
