"""Building and loading the networks of a model for several cameras."""

from __future__ import annotations

from pathlib import Path

import torch

from cosmos_cli.checkpoints.loading import load_network, wanted_keys
from cosmos_cli.models.multiview_control_branch import MultiViewControlBranch
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_plugins.transfer1.multiview.variants import MultiviewVariant
from cosmos_plugins.transfer1.networks import IGNORED


def load_base(
    path: Path,
    variant: MultiviewVariant,
    num_views: int,
    *,
    attention: str,
    dtype: torch.dtype,
    device: torch.device,
) -> MultiViewDiT:
    """The base network; its keys stand under `net.`."""
    config = variant.base(num_views)
    rename = wanted_keys("net.", ignored=IGNORED)
    return load_network(lambda: MultiViewDiT(config, attention), path, rename=rename, dtype=dtype, device=device)


def load_branch(
    path: Path,
    variant: MultiviewVariant,
    num_views: int,
    *,
    attention: str,
    dtype: torch.dtype,
    device: torch.device,
) -> MultiViewControlBranch:
    """One control branch; its keys stand under `net.`."""
    config = variant.branch(num_views)
    rename = wanted_keys("net.", ignored=IGNORED)
    return load_network(
        lambda: MultiViewControlBranch(config, attention), path, rename=rename, dtype=dtype, device=device
    )
