"""The network of pictures."""

from __future__ import annotations

from cosmos_cli.generation.load import BuildNetworks
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_plugins.predict2.networks import dit_and_tokenizer
from cosmos_plugins.predict2.text2image.inputs import weight_paths
from cosmos_plugins.predict2.text2image.requests import Text2ImageSettings
from cosmos_plugins.predict2.variants import TEXT2IMAGE


def networks(settings: Text2ImageSettings) -> BuildNetworks[MinimalDiT, WanVAE]:
    """What builds the networks of these settings."""
    variant = TEXT2IMAGE[settings.model_size]
    return dit_and_tokenizer(
        weight_paths(settings),
        variant.vae,
        lambda attention: MinimalDiT(variant.dit, attention),
        ema=settings.load_ema,
    )
