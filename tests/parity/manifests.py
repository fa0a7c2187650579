"""Manifests: key and shape of everything in a published file, against our network on the meta device."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from cosmos_cli.checkpoints.loading import KeyReport, compare_keys
from cosmos_cli.models.minimal_dit import MinimalDiT, MinimalDiTConfig, stored_constants
from cosmos_cli.models.wan_vae import WanVAE, WanVAEConfig
from cosmos_plugins.predict2.variants import VARIANTS

Shapes = dict[str, tuple[int, ...]]


def _shapes(network: nn.Module, prefix: str = "") -> Shapes:
    return {f"{prefix}{name}": tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _predict2(size: str) -> Shapes:
    config = MinimalDiTConfig(**VARIANTS[size].dit)
    constants = {f"net.{name}": shape for name, shape in stored_constants(config).items()}
    return _shapes(MinimalDiT(config), "net.") | constants


MANIFESTS: dict[str, Callable[[], Shapes]] = {
    "predict2_2b_video2world": lambda: _predict2("2B"),
    "predict2_14b_video2world": lambda: _predict2("14B"),
    "vae_wan2.1": lambda: _shapes(WanVAE(WanVAEConfig())),
}


def check_manifest(path: Path) -> KeyReport | None:
    """What our network lacks, has too much, or has in another shape; None if no network of that name is known."""
    build = MANIFESTS.get(path.stem)
    if build is None:
        return None
    published = {key: tuple(entry["shape"]) for key, entry in json.loads(path.read_text()).items()}
    with torch.device("meta"):
        return compare_keys(expected=build(), found=published)
