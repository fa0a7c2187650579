"""The network that actions steer."""

from __future__ import annotations

from cosmos_cli.generation.load import BuildNetworks
from cosmos_cli.models.action_dit import ActionDiT
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_plugins.predict2.action.inputs import weight_paths
from cosmos_plugins.predict2.action.requests import ActionSettings
from cosmos_plugins.predict2.networks import dit_and_tokenizer
from cosmos_plugins.predict2.variants import ACTION


def networks(settings: ActionSettings) -> BuildNetworks[ActionDiT, WanVAE]:
    """What builds the networks of these settings."""
    variant = ACTION[settings.model_size]
    return dit_and_tokenizer(
        weight_paths(settings),
        variant.vae,
        lambda attention: ActionDiT(variant.dit, attention),
        ema=settings.load_ema,
    )
