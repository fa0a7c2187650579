"""Models on general diffusion transformers: their networks and sizes, without building anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

from cosmos_cli.models.configs import TINY_COSMOS_TOKENIZER, CosmosTokenizerConfig, GeneralDiTConfig

Config = TypeVar("Config", bound=GeneralDiTConfig)

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
TINY_ROOT = Path(__file__).parents[1] / "tiny"
"""Checkpoint folder of the tiny models, in the layout of the published ones."""
TINY_HELPERS = Helpers(TINY_COSMOS_TOKENIZER, "google-t5/t5-tiny")
"""Small enough for a laptop and to ship with the package; the tiny models of all families share them."""
TINY_TEXT_WIDTH = 128
"""Of the embeddings of the tiny text encoder."""

LONGEST_CHUNK_FRAMES = 121
"""Frames that the tokenizer takes at once for one camera; for several they are fewer."""


@dataclass(frozen=True)
class Variant(Generic[Config]):
    """One size of the models for one camera, or of those for several.

    dit: the network of Video2World.
    folder: of a model under the checkpoint folder, with {kind} where it names that; NVIDIA's name may be in front.
    height, width: of a view in pixels, where a request does not say otherwise.
    chunk_frames: what it makes of a view at once.
    """

    dit: Config
    folder: str
    height: int
    width: int
    helpers: Helpers = PUBLISHED_HELPERS
    chunk_frames: int = LONGEST_CHUNK_FRAMES

    def network(self, kind: Kind) -> Config:
        """The published network of a kind."""
        return replace(self.dit, condition_mask=kind == "video2world")

    def folder_of(self, kind: Kind) -> str:
        return self.folder.format(kind={"text2world": "Text2World", "video2world": "Video2World"}[kind])


SINGLE_VIEW_NETWORKS: Mapping[str, GeneralDiTConfig] = {
    "7B": GeneralDiTConfig(model_channels=4096, num_blocks=28, num_heads=32, rope_t_extrapolation_ratio=2.0),
    "14B": GeneralDiTConfig(
        model_channels=5120,
        num_blocks=36,
        num_heads=40,
        rope_h_extrapolation_ratio=2.0,
        rope_w_extrapolation_ratio=2.0,
        rope_t_extrapolation_ratio=2.0,
    ),
    "tiny": GeneralDiTConfig(
        model_channels=48,
        num_blocks=3,
        num_heads=4,
        crossattn_emb_channels=TINY_TEXT_WIDTH,
        adaln_lora_dim=8,
        rope_t_extrapolation_ratio=2.0,
    ),
}
"""Networks of the models for one camera, by their size."""


_TINY_FOLDER = "Cosmos-Predict1-Tiny-{kind}"
"""Of the tiny models for one camera, which stand for all of that network."""


def single_view_variants(folder: str) -> Mapping[str, Variant[GeneralDiTConfig]]:
    """Models for one camera by their size.

    folder: of a published one, with {size} and {kind}.
    """
    variants = {
        size: Variant(network, folder.replace("{size}", size), height=704, width=1280)
        for size, network in SINGLE_VIEW_NETWORKS.items()
    }
    tiny = replace(variants["tiny"], folder=_TINY_FOLDER, height=48, width=80, helpers=TINY_HELPERS, chunk_frames=33)
    return variants | {"tiny": tiny}
