"""The network of several cameras."""

from __future__ import annotations

from cosmos_cli.generation.load import BuildNetworks
from cosmos_cli.models.minimal_multiview_dit import MinimalMultiviewDiT
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_plugins.predict2.multiview.inputs import weight_paths
from cosmos_plugins.predict2.multiview.requests import MultiviewSettings
from cosmos_plugins.predict2.networks import dit_and_tokenizer
from cosmos_plugins.predict2.variants import MULTIVIEW


def networks(settings: MultiviewSettings) -> BuildNetworks[MinimalMultiviewDiT, WanVAE]:
    """What builds the networks of these settings."""
    variant = MULTIVIEW[settings.model_size]
    return dit_and_tokenizer(
        weight_paths(settings),
        variant.vae,
        lambda attention: MinimalMultiviewDiT(variant.dit, attention),
        ema=settings.load_ema,
    )
