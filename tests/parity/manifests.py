"""Manifests: key and shape of everything in a published file, against our network on the meta device."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cosmos_cli.checkpoints.loading import KeyReport, compare_keys
from cosmos_cli.models import general_dit
from cosmos_cli.models.control_branch import ControlBranch, ControlBranchConfig
from cosmos_cli.models.cosmos_tokenizer import STORED_CONSTANTS, CosmosTokenizer, CosmosTokenizerConfig
from cosmos_cli.models.general_dit import GeneralDiT, GeneralDiTConfig
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


GENERAL_DIT: dict[str, dict[str, Any]] = {
    "7b": {"model_channels": 4096, "num_blocks": 28, "num_heads": 32, "rope_t_extrapolation_ratio": 2.0},
    "14b": {
        "model_channels": 5120,
        "num_blocks": 36,
        "num_heads": 40,
        "rope_h_extrapolation_ratio": 2.0,
        "rope_w_extrapolation_ratio": 2.0,
        "rope_t_extrapolation_ratio": 2.0,
    },
}
CONTROL: dict[str, Any] = {"model_channels": 4096, "num_blocks": 3, "num_heads": 32}


def _general_dit(size: str, *, video: bool, container: str = "") -> Shapes:
    """A network and the loss head beside it; `container` is in front of both."""
    logvar = {f"{container}{name}": shape for name, shape in general_dit.LOGVAR_SHAPES.items()}
    return _general_dit_network(size, video=video, prefix=f"{container}net.") | logvar


def _general_dit_network(size: str, *, video: bool, prefix: str) -> Shapes:
    config = GeneralDiTConfig(**GENERAL_DIT[size], condition_mask=video)
    return _shapes(GeneralDiT(config), prefix) | _general_dit_constants(config, prefix)


def _control(*, video: bool, prefix: str = "net.") -> Shapes:
    config = ControlBranchConfig(**CONTROL, condition_mask=video, hint_channels=128 if video else 16)
    return _shapes(ControlBranch(config), prefix) | _general_dit_constants(config, prefix)


def _general_dit_constants(config: GeneralDiTConfig, prefix: str) -> Shapes:
    return {f"{prefix}{name}": shape for name, shape in general_dit.stored_constants(config).items()}


def _distilled() -> Shapes:
    base = _general_dit_network("7b", video=True, prefix="net.base_model.net.")
    return base | _control(video=True, prefix="net.net_ctrl.")


CONTROLS = {
    **dict.fromkeys(("vis", "edge", "depth", "seg", "keypoint", "4kupscaler"), True),
    **dict.fromkeys(("sample_av_hdmap", "sample_av_lidar"), False),
}
"""Control branches, and whether they steer a network that is given frames."""

MANIFESTS: dict[str, Callable[[], Shapes]] = {
    "predict2_2b_video2world": lambda: _predict2("2B"),
    "predict2_14b_video2world": lambda: _predict2("14B"),
    **{
        f"predict1_{size}_{kind}2world": partial(_general_dit, size, video=kind == "video")
        for size in GENERAL_DIT
        for kind in ("text", "video")
    },
    "transfer1_7b_base_model": lambda: _general_dit("7b", video=True, container="base_model."),
    "transfer1_7b_sample_av_base_model": lambda: _general_dit("7b", video=False),
    "transfer1_7b_edge_control_distilled": _distilled,
    **{f"transfer1_7b_{name}_control": partial(_control, video=video) for name, video in CONTROLS.items()},
    "tokenizer_cosmos_cv8x8x8_720p": lambda: _shapes(CosmosTokenizer(CosmosTokenizerConfig())) | STORED_CONSTANTS,
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
