"""Building and filling the networks of Cosmos-1.0, whatever form their weights are in."""

from __future__ import annotations

from pathlib import Path

from cosmos_cli.errors import CheckpointError
from cosmos_cli.generation.networks import config_in, load_dit, width_in
from cosmos_cli.generation.weights import find_weights
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_plugins.nemo_bridge.variants import VARIANTS

__all__ = ["load_dit", "network_in"]


def network_in(path: Path) -> GeneralDiTConfig:
    """The shape of the network in a checkpoint, which its tensors tell.

    Raises:
        CheckpointError: there is none, or it is damaged or of another network.
    """
    path = find_weights(path.parent, path.name)
    for variant in VARIANTS.values():
        if width_in(path, variant.dit) == variant.dit.model_channels:
            return config_in(path, variant.dit)
    raise CheckpointError("holds no network of Cosmos-1.0.", where=str(path), fix="Give the checkpoint of one.")
