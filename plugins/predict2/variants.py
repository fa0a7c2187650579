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

_PICTURE_SIZES: Sizes = {
    "1:1": (1024, 1024),
    "4:3": (880, 1168),
    "3:4": (1168, 880),
    "16:9": (768, 1360),
    "9:16": (1360, 768),
}

_TINY_SIZES: Sizes = {"1:1": (96, 96), "4:3": (96, 128), "3:4": (128, 96), "16:9": (80, 144), "9:16": (144, 80)}


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
            "tiny": _TINY_SIZES,
            **_PUBLISHED_SIZES,
        },
        default_resolution="tiny",
    ),
}


@dataclass(frozen=True)
class SampleVariant:
    """One size of a model beside Video2World, whose weights make pictures of one size for each shape.

    dit: arguments of the network's configuration.
    dit_file: its weights, under the checkpoint folder.
    tokenizer_file: of the tokenizer, under the checkpoint folder; several models share that of Video2World.
    sizes: what it makes.
    vae: arguments of `WanVAEConfig`; empty for the published Wan 2.1 tokenizer.
    text_encoder: folder of the T5 encoder under the checkpoint folder.
    """

    dit: Mapping[str, Any]
    dit_file: str
    tokenizer_file: str
    sizes: Sizes
    vae: Mapping[str, Any] = field(default_factory=dict)
    text_encoder: str = VARIANTS["2B"].text_encoder

    @property
    def folder(self) -> str:
        """Of the model under the checkpoint folder."""
        return self.dit_file.rpartition("/")[0]


def _text2image(size: str, **dit: int) -> SampleVariant:
    folder = f"nvidia/Cosmos-Predict2-{size}-Text2Image"
    ratios = {
        "rope_h_extrapolation_ratio": 4.0,
        "rope_w_extrapolation_ratio": 4.0,
        "rope_t_extrapolation_ratio": 1.0,
        "condition_mask": False,
    }
    return SampleVariant({**dit, **ratios}, f"{folder}/model.pt", f"{folder}/tokenizer/tokenizer.pth", _PICTURE_SIZES)


# What the tiny models of all kinds have in common. They use the tiny tokenizer and text encoder of Video2World.
_TINY_DIT: Mapping[str, Any] = {
    "model_channels": 64,
    "num_blocks": 2,
    "num_heads": 2,
    "crossattn_emb_channels": VARIANTS["tiny"].dit["crossattn_emb_channels"],
    "adaln_lora_dim": 16,
}


def _tiny(dit_file: str, sizes: Sizes, **dit: Any) -> SampleVariant:
    tiny = VARIANTS["tiny"]
    tokenizer = f"{tiny.folder}/tokenizer/tokenizer.pth"
    return SampleVariant({**_TINY_DIT, **dit}, dit_file, tokenizer, sizes, vae=tiny.vae, text_encoder=tiny.text_encoder)


TEXT2IMAGE: Mapping[str, SampleVariant] = {
    "0.6B": _text2image("0.6B", model_channels=1280, num_blocks=20, num_heads=20),
    "2B": _text2image("2B", model_channels=2048, num_blocks=28, num_heads=16),
    "14B": _text2image("14B", model_channels=5120, num_blocks=36, num_heads=40),
    "tiny": _tiny("nvidia/Cosmos-Predict2-Tiny-Text2Image/model.pt", _TINY_SIZES, condition_mask=False),
}
"""Models that make a picture out of a prompt."""

DISTILLED_SIGMAS = (80.0, 3.6, 1.5574, 0.684)
"""Noise levels of the distilled pictures; a run of n steps visits the first n."""

VIEW_FPS = 10
"""Frame rate of the models for several cameras."""

VIEW_FRAMES = 29
"""Length of every view in frames."""

MAX_VIEWS = 7
"""Cameras that they know."""

_WIDE_TOKENIZER = f"{VARIANTS['2B'].folder}/tokenizer/tokenizer.pth"

MULTIVIEW: Mapping[str, SampleVariant] = {
    "2B": SampleVariant(
        {
            "model_channels": 2048,
            "num_blocks": 28,
            "num_heads": 16,
            "rope_h_extrapolation_ratio": 3.0,
            "rope_w_extrapolation_ratio": 3.0,
            "rope_t_extrapolation_ratio": 8 / 24,
        },
        "nvidia/Cosmos-Predict2-2B-Multiview/model-720p-10fps-7views-29frames.pt",
        _WIDE_TOKENIZER,
        {"16:9": _PUBLISHED_SIZES["720"]["16:9"]},
    ),
    "tiny": _tiny("nvidia/Cosmos-Predict2-Tiny-Multiview/model-tiny.pt", {"16:9": (48, 80)}),
}
"""Models that make what several cameras see."""

ACTIONS_PER_CHUNK = 12
"""Actions that an action-conditioned model reads at once; it makes one frame for each, after the given one."""

ACTION_WIDTH = 7
"""Numbers of one action: displacement along and turn about three axes, and the width of the gripper."""

ACTION_FPS = 4
"""Frame rate of the action-conditioned models."""

ACTION: Mapping[str, SampleVariant] = {
    "2B": SampleVariant(
        VARIANTS["2B"].dit,
        "nvidia/Cosmos-Predict2-2B-Sample-Action-Conditioned/model-480p-4fps.pt",
        _WIDE_TOKENIZER,
        {"4:3": _PUBLISHED_SIZES["480"]["4:3"]},
    ),
    "tiny": _tiny("nvidia/Cosmos-Predict2-Tiny-Sample-Action-Conditioned/model-tiny.pt", {"4:3": (48, 64)}),
}
"""Models that show what a robot's actions do."""
