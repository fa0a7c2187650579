"""The Predict2 models: their networks, sizes and lengths, without building anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from cosmos_cli.generation.variants import TINY_HELPERS, TINY_TEXT_WIDTH
from cosmos_cli.models.configs import (
    TINY_WAN_VAE,
    ActionDiTConfig,
    MinimalDiTConfig,
    MinimalMultiviewDiTConfig,
    NeighborhoodConfig,
    WanVAEConfig,
)
from cosmos_cli.runtime.shortcuts import Shortcuts

Config = TypeVar("Config", bound=MinimalDiTConfig)

SHORTCUTS = Shortcuts(tf32_products=True, trials=True)
"""What every script of the original has a GPU do."""

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

_TINY_SIZES: Sizes = {"1:1": (80, 80), "4:3": (80, 112), "3:4": (112, 80), "16:9": (64, 112), "9:16": (112, 64)}


SPARSE_GRID = (-1, 44, 80)
"""Patch grid that the sparse checkpoints were trained on: any number of frames of 720p at 16:9."""

SPARSE_PATTERNS: Mapping[str, NeighborhoodConfig] = {
    "A": NeighborhoodConfig((-1, 4, 16), stride=(1, 1, 1), dilation=(1, 11, 5), base_grid=SPARSE_GRID),
    "B": NeighborhoodConfig((-1, 12, 16), stride=(1, 4, 1), dilation=(1, 1, 5), base_grid=SPARSE_GRID),
    "C": NeighborhoodConfig((-1, 12, 24), stride=(1, 4, 8), dilation=(1, 1, 1), base_grid=SPARSE_GRID),
    "D": NeighborhoodConfig((-1, 20, 40), stride=(1, 4, 8), dilation=(1, 1, 1), base_grid=SPARSE_GRID),
    "E": NeighborhoodConfig((-1, 28, 56), stride=(1, 4, 8), dilation=(1, 1, 1), base_grid=SPARSE_GRID),
}
"""Neighbourhoods of the sparse checkpoints."""


@dataclass(frozen=True)
class Variant:
    """One model size.

    vae: the tokenizer; the default is the published Wan 2.1 tokenizer.
    sizes: resolution name to sizes.
    default_resolution: used when none is asked for.
    num_frames: rate in frames per second to native clip length in frames.
    sparse_layers: pattern of each block of the sparse checkpoint, a letter of `SPARSE_PATTERNS` or "-" for dense;
        empty where there is no such checkpoint.
    folder: of the model under the checkpoint folder.
    text_encoder: folder of the T5 encoder under the checkpoint folder.
    """

    dit: MinimalDiTConfig
    folder: str
    text_encoder: str = "google-t5/t5-11b"
    vae: WanVAEConfig = field(default_factory=WanVAEConfig)
    sizes: Mapping[str, Sizes] = field(default_factory=lambda: _PUBLISHED_SIZES)
    default_resolution: str = "720"
    num_frames: Mapping[int, int] = field(default_factory=lambda: {16: 93, 10: 61})
    sparse_layers: str = ""

    @property
    def tokenizer_file(self) -> str:
        """Under the checkpoint folder."""
        return f"{self.folder}/tokenizer/tokenizer.pth"


VARIANTS: Mapping[str, Variant] = {
    "2B": Variant(
        dit=MinimalDiTConfig(
            model_channels=2048,
            num_blocks=28,
            num_heads=16,
            rope_h_extrapolation_ratio=3.0,
            rope_w_extrapolation_ratio=3.0,
            rope_t_extrapolation_ratio=1.0,
        ),
        folder="nvidia/Cosmos-Predict2-2B-Video2World",
        sparse_layers="AABCCBCCCCBDDDDDDDDDDDDEDDDC",
    ),
    "14B": Variant(
        dit=MinimalDiTConfig(
            model_channels=5120,
            num_blocks=36,
            num_heads=40,
            rope_h_extrapolation_ratio=2.0,
            rope_w_extrapolation_ratio=2.0,
            rope_t_extrapolation_ratio=20 / 24,
        ),
        folder="nvidia/Cosmos-Predict2-14B-Video2World",
        sparse_layers="AAAAAAAAAAABBCCCCCCCCCCDEDE-EDDEEDED",
    ),
    # The same networks, small enough for a laptop and to ship with the package. Everything about its size stands here.
    "tiny": Variant(
        dit=MinimalDiTConfig(
            model_channels=160,
            num_blocks=6,
            num_heads=4,
            crossattn_emb_channels=TINY_TEXT_WIDTH,
            adaln_lora_dim=32,
            rope_h_extrapolation_ratio=1.0,
            rope_w_extrapolation_ratio=1.0,
            rope_t_extrapolation_ratio=1.0,
        ),
        folder="nvidia/Cosmos-Predict2-Tiny-Video2World",
        text_encoder=TINY_HELPERS.text_encoder,
        vae=TINY_WAN_VAE,
        sizes={
            "tiny": _TINY_SIZES,
            **_PUBLISHED_SIZES,
        },
        default_resolution="tiny",
        num_frames={16: 17, 10: 13},
    ),
}


GR00T_DREAMS: Mapping[str, str] = {
    name: f"nvidia/Cosmos-Predict2-14B-Sample-GR00T-Dreams-{name.upper()}/model-480p-16fps.pt"
    for name in ("gr1", "droid")
}
"""Weights of the 14B network post-trained on videos of robots, under the checkpoint folder, by the robots."""

GR00T_PREFIX = "The robot arm is performing a task. "
"""What these were trained to read before every prompt."""


@dataclass(frozen=True)
class SampleVariant(Generic[Config]):
    """One size of a model beside Video2World, whose weights make pictures of one size for each shape.

    dit_file: the network's weights, under the checkpoint folder.
    tokenizer_file: of the tokenizer, under the checkpoint folder; several models share that of Video2World.
    sizes: what it makes.
    vae: the tokenizer; the default is the published Wan 2.1 tokenizer.
    text_encoder: folder of the T5 encoder under the checkpoint folder.
    """

    dit: Config
    dit_file: str
    tokenizer_file: str
    sizes: Sizes
    vae: WanVAEConfig = field(default_factory=WanVAEConfig)
    text_encoder: str = VARIANTS["2B"].text_encoder

    @property
    def folder(self) -> str:
        """Of the model under the checkpoint folder."""
        return self.dit_file.rpartition("/")[0]


def _text2image(size: str, *, model_channels: int, num_blocks: int, num_heads: int) -> SampleVariant[MinimalDiTConfig]:
    folder = f"nvidia/Cosmos-Predict2-{size}-Text2Image"
    dit = MinimalDiTConfig(
        model_channels,
        num_blocks,
        num_heads,
        rope_h_extrapolation_ratio=4.0,
        rope_w_extrapolation_ratio=4.0,
        rope_t_extrapolation_ratio=1.0,
        condition_mask=False,
    )
    return SampleVariant(dit, f"{folder}/model.pt", f"{folder}/tokenizer/tokenizer.pth", _PICTURE_SIZES)


# What the tiny models of all kinds have in common. They use the tiny tokenizer and text encoder of Video2World.
_TINY_DIT: Mapping[str, Any] = {
    "model_channels": 64,
    "num_blocks": 2,
    "num_heads": 2,
    "crossattn_emb_channels": TINY_TEXT_WIDTH,
    "adaln_lora_dim": 16,
}


def _tiny(dit: Config, dit_file: str, sizes: Sizes) -> SampleVariant[Config]:
    tiny = VARIANTS["tiny"]
    tokenizer = tiny.tokenizer_file
    return SampleVariant(dit, dit_file, tokenizer, sizes, vae=tiny.vae, text_encoder=tiny.text_encoder)


TEXT2IMAGE: Mapping[str, SampleVariant[MinimalDiTConfig]] = {
    "0.6B": _text2image("0.6B", model_channels=1280, num_blocks=20, num_heads=20),
    "2B": _text2image("2B", model_channels=2048, num_blocks=28, num_heads=16),
    "14B": _text2image("14B", model_channels=5120, num_blocks=36, num_heads=40),
    "tiny": _tiny(
        MinimalDiTConfig(**_TINY_DIT, condition_mask=False),
        "nvidia/Cosmos-Predict2-Tiny-Text2Image/model.pt",
        _TINY_SIZES,
    ),
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

_WIDE_TOKENIZER = VARIANTS["2B"].tokenizer_file

MULTIVIEW: Mapping[str, SampleVariant[MinimalMultiviewDiTConfig]] = {
    "2B": SampleVariant(
        MinimalMultiviewDiTConfig(
            model_channels=2048,
            num_blocks=28,
            num_heads=16,
            rope_h_extrapolation_ratio=3.0,
            rope_w_extrapolation_ratio=3.0,
            rope_t_extrapolation_ratio=8 / 24,
        ),
        "nvidia/Cosmos-Predict2-2B-Multiview/model-720p-10fps-7views-29frames.pt",
        _WIDE_TOKENIZER,
        {"16:9": _PUBLISHED_SIZES["720"]["16:9"]},
    ),
    "tiny": _tiny(
        MinimalMultiviewDiTConfig(**_TINY_DIT),
        "nvidia/Cosmos-Predict2-Tiny-Multiview/model-tiny.pt",
        {"16:9": (48, 80)},
    ),
}
"""Models that make what several cameras see."""

ACTIONS_PER_CHUNK = 12
"""Actions that an action-conditioned model reads at once; it makes one frame for each, after the given one."""

ACTION_WIDTH = 7
"""Numbers of one action: displacement along and turn about three axes, and the width of the gripper."""

ACTION_FPS = 4
"""Frame rate of the action-conditioned models."""

ACTION: Mapping[str, SampleVariant[ActionDiTConfig]] = {
    "2B": SampleVariant(
        ActionDiTConfig.of(VARIANTS["2B"].dit),
        "nvidia/Cosmos-Predict2-2B-Sample-Action-Conditioned/model-480p-4fps.pt",
        _WIDE_TOKENIZER,
        {"4:3": _PUBLISHED_SIZES["480"]["4:3"]},
    ),
    "tiny": _tiny(
        ActionDiTConfig(**_TINY_DIT),
        "nvidia/Cosmos-Predict2-Tiny-Sample-Action-Conditioned/model-tiny.pt",
        {"4:3": (48, 64)},
    ),
}
"""Models that show what a robot's actions do."""
