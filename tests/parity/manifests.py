"""Manifests: key and shape of everything in a published file, against our network on the meta device."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cosmos_cli.checkpoints.keys import KeyReport, compare_keys
from cosmos_cli.models import general_dit, minimal_multiview_dit
from cosmos_cli.models.configs import (
    ControlBranchConfig,
    CosmosTokenizerConfig,
    GeneralDiTConfig,
    MinimalDiTConfig,
    MinimalMultiviewDiTConfig,
    MultiViewControlBranchConfig,
    WanVAEConfig,
)
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.cosmos_tokenizer_files import STORED_CONSTANTS
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.minimal_dit import MinimalDiT, stored_constants
from cosmos_cli.models.minimal_multiview_dit import MinimalMultiviewDiT
from cosmos_cli.models.multiview_control_branch import MultiViewControlBranch
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW, SINGLE_VIEW
from cosmos_plugins.predict2.variants import VARIANTS

Shapes = dict[str, tuple[int, ...]]


def _shapes(network: nn.Module, prefix: str = "") -> Shapes:
    return {f"{prefix}{name}": tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _predict2(config: MinimalDiTConfig) -> Shapes:
    constants = {f"net.{name}": shape for name, shape in stored_constants(config).items()}
    return _shapes(MinimalDiT(config), "net.") | constants


TEXT2IMAGE: dict[str, dict[str, Any]] = {
    "0p6b": {"model_channels": 1280, "num_blocks": 20, "num_heads": 20},
    "2b": {"model_channels": 2048, "num_blocks": 28, "num_heads": 16},
    "14b": {"model_channels": 5120, "num_blocks": 36, "num_heads": 40},
}


def _predict2_multiview() -> Shapes:
    config = MinimalMultiviewDiTConfig(model_channels=2048, num_blocks=28, num_heads=16)
    constants = {f"net.{name}": shape for name, shape in minimal_multiview_dit.stored_constants(config).items()}
    return _shapes(MinimalMultiviewDiT(config), "net.") | constants


GENERAL_DIT = {size.lower(): SINGLE_VIEW[size].dit for size in ("7B", "14B")}
CONTROL: dict[str, Any] = {"model_channels": 4096, "num_blocks": 3, "num_heads": 32}


def _general_dit(size: str, *, video: bool, container: str = "") -> Shapes:
    """A network and the loss head beside it; `container` is in front of both."""
    logvar = {f"{container}{name}": shape for name, shape in general_dit.LOGVAR_SHAPES.items()}
    return _general_dit_network(size, video=video, prefix=f"{container}net.") | logvar


def _general_dit_network(size: str, *, video: bool, prefix: str) -> Shapes:
    config = replace(GENERAL_DIT[size], condition_mask=video)
    return _shapes(GeneralDiT(config), prefix) | _general_dit_constants(config, prefix)


def _control(*, video: bool, prefix: str = "net.") -> Shapes:
    config = ControlBranchConfig(**CONTROL, condition_mask=video, hint_channels=128 if video else 16)
    return _shapes(ControlBranch(config), prefix) | _general_dit_constants(config, prefix)


def _multiview_dit(*, video: bool, n_views_emb: int | None = None) -> Shapes:
    config = replace(MULTIVIEW["7B"].dit, condition_mask=video, n_views_emb=n_views_emb)
    return _shapes(MultiViewDiT(config), "net.") | _general_dit_constants(config, "net.") | general_dit.LOGVAR_SHAPES


def _multiview_control() -> Shapes:
    config = MultiViewControlBranchConfig(**CONTROL, n_views_emb=7)
    return _shapes(MultiViewControlBranch(config), "net.") | _general_dit_constants(config, "net.")


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

SV2MV = ("t2w", "v2w")
"""Models that make several views out of one: of one clip, and of clip after clip. Both are given frames."""

MANIFESTS: dict[str, Callable[[], Shapes]] = {
    "predict2_2b_video2world": lambda: _predict2(VARIANTS["2B"].dit),
    "predict2_14b_video2world": lambda: _predict2(VARIANTS["14B"].dit),
    **{
        f"predict2_{size}_text2image": partial(_predict2, MinimalDiTConfig(**dit, condition_mask=False))
        for size, dit in TEXT2IMAGE.items()
    },
    "predict2_2b_multiview_7views": _predict2_multiview,
    **{
        f"predict1_{size}_{kind}2world": partial(_general_dit, size, video=kind == "video")
        for size in GENERAL_DIT
        for kind in ("text", "video")
    },
    "transfer1_7b_base_model": lambda: _general_dit("7b", video=True, container="base_model."),
    "transfer1_7b_sample_av_base_model": lambda: _general_dit("7b", video=False),
    "transfer1_7b_edge_control_distilled": _distilled,
    **{f"transfer1_7b_{name}_control": partial(_control, video=video) for name, video in CONTROLS.items()},
    **{
        f"predict1_7b_{kind}2world_multiview": partial(_multiview_dit, video=kind == "video")
        for kind in ("text", "video")
    },
    **{f"transfer1_7b_sv2mv_{kind}_base_model": partial(_multiview_dit, video=True, n_views_emb=7) for kind in SV2MV},
    **{f"transfer1_7b_sv2mv_{kind}_hdmap_control": _multiview_control for kind in SV2MV},
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
