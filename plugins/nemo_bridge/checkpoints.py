"""Published files of the Cosmos-1.0 diffusion models."""

from __future__ import annotations

from collections.abc import Mapping

from cosmos_cli.checkpoints.catalogue import DATA_SETS, GUARDRAILS, TEXT_ENCODER, PublishedFile, Repository
from cosmos_cli.generation.variants import Kind
from cosmos_cli.generation.weights import WEIGHTS
from cosmos_plugins.nemo_bridge.variants import VARIANTS

_LICENCE = "NVIDIA Open Model License"
_BYTES = {"7B": 14_470_000_000, "14B": 28_600_000_000}
_NEMO_BYTES = {"7B": 15_530_000_000, "14B": 30_230_000_000}

NEMO = "nemo"
"""Folder of a published model with its NeMo checkpoint."""

TINY_TOKENIZER = "Cosmos-Tokenize1-CV8x8x8-720p"
"""Folder of the tiny one, which is that of others too."""

TOKENIZER = Repository(
    "nvidia/Cosmos-1.0-Tokenizer-CV8x8x8",
    "main",
    (
        PublishedFile("encoder.jit", 90_000_000),
        PublishedFile("decoder.jit", 121_000_000),
        PublishedFile("mean_std.pt", 3_000),
    ),
    _LICENCE,
    other_forms=("autoencoder.jit",),
    also_in=("Cosmos-1.0-Tokenizer-CV8x8x8",),
)
"""The tokenizer of videos. The sizes of its halves are guesses."""


def _model(kind: Kind, size: str) -> Repository:
    folder = VARIANTS[size].folder_of(kind)
    return Repository(
        f"nvidia/{folder}",
        "main",
        (PublishedFile(WEIGHTS, _BYTES[size]),),
        _LICENCE,
        other_forms=(f"{NEMO}/metadata.json",),
        also_in=(folder,),
    )


MODELS: Mapping[tuple[Kind, str], Repository] = {
    (kind, size): _model(kind, size) for size in ("7B", "14B") for kind in ("text2world", "video2world")
}
"""The networks, in the form of the originals, by their kind and size; a NeMo checkpoint serves as well."""


def _nemo_checkpoint(kind: Kind, size: str) -> Repository:
    model = MODELS[kind, size]
    return Repository(model.name, model.revision, (PublishedFile(f"{NEMO}/", _NEMO_BYTES[size]),), _LICENCE)


NEMO_MODELS: Mapping[tuple[Kind, str], Repository] = {
    (kind, size): _nemo_checkpoint(kind, size) for kind, size in MODELS
}
"""The same networks as NeMo checkpoints."""

CATALOGUE: Mapping[str, tuple[Repository, ...]] = {
    **{model.name.rpartition("/")[2]: (model, TOKENIZER, *TEXT_ENCODER, *GUARDRAILS) for model in MODELS.values()},
    **{
        f"{model.name.rpartition('/')[2]}-{NEMO}": (model, TOKENIZER, *TEXT_ENCODER, *GUARDRAILS)
        for model in NEMO_MODELS.values()
    },
    "example-data": DATA_SETS,
}
"""Model to everything that is published for it: in the originals' form, or as a NeMo checkpoint."""
