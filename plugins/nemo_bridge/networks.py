"""Building and filling the networks of Cosmos-1.0, whatever form their weights are in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.generation.networks import build_dit
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_plugins.nemo_bridge.convert.sources import open_checkpoint
from cosmos_plugins.nemo_bridge.formats import DIT


def network_in(path: Path) -> GeneralDiTConfig:
    """The shape of the network in a checkpoint, which its tensors tell.

    Raises:
        CheckpointError: there is none, or it is damaged or of another network.
    """
    with open_checkpoint(path) as source:
        return source.variant.config


def load_dit(
    path: Path,
    config: GeneralDiTConfig | None = None,
    *,
    attention: str = "sdpa",
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    **_: Any,
) -> GeneralDiT:
    """The network with the weights of a checkpoint: a native file, a folder of NeMo, or one of diffusers.

    Args:
        config: not asked: the checkpoint's shapes say what network it is.
        dtype: None keeps the stored one.
    Raises:
        CheckpointError: there is none, or it is damaged or of another network.
    """
    with open_checkpoint(path) as source:
        network = source.variant.config
        return load_network(lambda: build_dit(network, attention), source, naming=DIT, dtype=dtype, device=device)
