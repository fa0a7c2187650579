"""The Predict2 models: their networks, sizes and lengths, without building anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ASPECT_RATIOS = ("1:1", "4:3", "3:4", "16:9", "9:16")

Sizes = Mapping[str, tuple[int, int]]
"""Aspect ratio (width:height) to (height, width) in pixels."""

_PUBLISHED_SIZES: dict[str, Sizes] = {
    "480": {"1:1": (480, 480), "4:3": (480, 640), "3:4": (640, 480), "16:9": (432, 768), "9:16": (768, 432)},
    "720": {"1:1": (960, 960), "4:3": (704, 960), "3:4": (960, 704), "16:9": (704, 1280), "9:16": (1280, 704)},
}


SPARSE_GRID = (-1, 44, 80)
"""Patch grid that the sparse checkpoints were trained on: any number of frames of 720p at 16:9."""

SPARSE_PATTERNS: Mapping[str, Mapping[str, tuple[int, int, int]]] = {
    "A": {"window": (-1, 4, 16), "stride": (1, 1, 1), "dilation": (1, 11, 5)},
    "B": {"window": (-1, 12, 16), "stride": (1, 4, 1), "dilation": (1, 1, 5)},
    "C": {"window": (-1, 12, 24), "stride": (1, 4, 8), "dilation": (1, 1, 1)},
    "D": {"window": (-1, 20, 40), "stride": (1, 4, 8), "dilation": (1, 1, 1)},
    "E": {"window": (-1, 28, 56), "stride": (1, 4, 8), "dilation": (1, 1, 1)},
}
"""Neighbourhoods of the sparse checkpoints over time, height and width; see `NeighborhoodConfig`."""


@dataclass(frozen=True)
class Variant:
    """One model size.

    dit: arguments of `MinimalDiTConfig`.
    vae: arguments of `WanVAEConfig`; empty for the published Wan 2.1 tokenizer.
    sizes: resolution name to sizes.
    default_resolution: used when none is asked for.
    num_frames: rate in frames per second to native clip length in frames.
    sparse_layers: pattern of each block of the sparse checkpoint, a letter of `SPARSE_PATTERNS` or "-" for dense;
        empty where there is no such checkpoint.
    folder: of the model under the checkpoint folder.
    text_encoder: folder of the T5 encoder under the checkpoint folder.
    """

    dit: Mapping[str, Any]
    folder: str
    text_encoder: str = "google-t5/t5-11b"
    vae: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, Sizes] = field(default_factory=lambda: _PUBLISHED_SIZES)
    default_resolution: str = "720"
    num_frames: Mapping[int, int] = field(default_factory=lambda: {16: 93, 10: 61})
    sparse_layers: str = ""


VARIANTS: Mapping[str, Variant] = {
    "2B": Variant(
        dit={
            "model_channels": 2048,
            "num_blocks": 28,
            "num_heads": 16,
            "rope_h_extrapolation_ratio": 3.0,
            "rope_w_extrapolation_ratio": 3.0,
            "rope_t_extrapolation_ratio": 1.0,
        },
        folder="nvidia/Cosmos-Predict2-2B-Video2World",
        sparse_layers="AABCCBCCCCBDDDDDDDDDDDDEDDDC",
    ),
    "14B": Variant(
        dit={
            "model_channels": 5120,
            "num_blocks": 36,
            "num_heads": 40,
            "rope_h_extrapolation_ratio": 2.0,
            "rope_w_extrapolation_ratio": 2.0,
            "rope_t_extrapolation_ratio": 20 / 24,
        },
        folder="nvidia/Cosmos-Predict2-14B-Video2World",
        sparse_layers="AAAAAAAAAAABBCCCCCCCCCCDEDE-EDDEEDED",
    ),
    # The same networks, small enough for a laptop and to ship with the package. Everything about its size stands here.
    "tiny": Variant(
        dit={
            "model_channels": 128,
            "num_blocks": 4,
            "num_heads": 4,
            "crossattn_emb_channels": 128,
            "adaln_lora_dim": 32,
            "rope_h_extrapolation_ratio": 1.0,
            "rope_w_extrapolation_ratio": 1.0,
            "rope_t_extrapolation_ratio": 1.0,
        },
        folder="nvidia/Cosmos-Predict2-Tiny-Video2World",
        text_encoder="google-t5/t5-tiny",
        vae={"dim": 12},
        sizes={
            "tiny": {"1:1": (96, 96), "4:3": (96, 128), "3:4": (128, 96), "16:9": (80, 144), "9:16": (144, 80)},
            **_PUBLISHED_SIZES,
        },
        default_resolution="tiny",
    ),
}
