"""The Predict1 models: their networks and sizes, without building anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from cosmos_cli.models.configs import CosmosTokenizerConfig, MultiViewConfig

Kind = Literal["text2world", "video2world"]
"""Whether a model makes all frames, or is given the first ones."""

NUM_STATES = 5
"""Tensors of the latents' shape in float32 that the sampler holds."""


@dataclass(frozen=True)
class Helpers:
    """What stands beside the networks of one size, whatever they make.

    tokenizer: the default is the published one.
    text_encoder: folder of the T5 encoder under the checkpoint folder.
    """

    tokenizer: CosmosTokenizerConfig = field(default_factory=CosmosTokenizerConfig)
    text_encoder: str = "google-t5/t5-11b"


PUBLISHED_HELPERS = Helpers()
# Small enough for a laptop and to ship with the package.
TINY_HELPERS = Helpers(
    CosmosTokenizerConfig(channels=8, channels_mult=(1, 2, 2), num_res_blocks=1), "google-t5/t5-tiny"
)
TINY_TEXT_WIDTH = 64
"""Of the embeddings of the tiny text encoder."""

LONGEST_CHUNK_FRAMES = 121
"""Frames that the tokenizer takes at once for one camera; for several they are fewer."""

VIEW_FRAMES = 57
"""Frames of every view that a model for several cameras makes."""


@dataclass(frozen=True)
class MultiviewVariant:
    """One size of the models for several cameras.

    dit: the network of Video2World.
    folder: of a model under the checkpoint folder, with {kind} where it names that; NVIDIA's name may be in front.
    height, width: of every view in pixels, where a request does not say otherwise.
    """

    dit: MultiViewConfig
    folder: str
    height: int
    width: int
    helpers: Helpers = PUBLISHED_HELPERS

    def network(self, kind: Kind) -> MultiViewConfig:
        """The published network of a kind."""
        return replace(self.dit, condition_mask=kind == "video2world")

    def folder_of(self, kind: Kind) -> str:
        return self.folder.format(kind={"text2world": "Text2World", "video2world": "Video2World"}[kind])


MULTIVIEW: Mapping[str, MultiviewVariant] = {
    "7B": MultiviewVariant(
        MultiViewConfig(model_channels=4096, num_blocks=28, num_heads=32, rope_t_extrapolation_ratio=2.0),
        "Cosmos-Predict1-7B-{kind}-Sample-AV-Multiview",
        height=480,
        width=848,
    ),
    "tiny": MultiviewVariant(
        MultiViewConfig(
            model_channels=48,
            num_blocks=3,
            num_heads=4,
            crossattn_emb_channels=TINY_TEXT_WIDTH,
            adaln_lora_dim=8,
            rope_t_extrapolation_ratio=2.0,
        ),
        "Cosmos-Predict1-Tiny-{kind}-Sample-AV-Multiview",
        height=48,
        width=80,
        helpers=TINY_HELPERS,
    ),
}
"""Models for several cameras, by their size."""
