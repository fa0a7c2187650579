"""Published files of Predict1."""

from __future__ import annotations

from collections.abc import Mapping

from cosmos_cli.checkpoints.catalogue import (
    GUARDRAILS,
    TEXT_ENCODER,
    VIDEO_TOKENIZER,
    PublishedFile,
    Repository,
)
from cosmos_cli.generation.variants import Kind
from cosmos_cli.generation.weights import WEIGHTS
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW, SINGLE_VIEW

_LICENCE = "NVIDIA Open Model License"
_BYTES = {"7B": 14_470_000_000, "14B": 28_600_000_000}


def repository(folder: str, model_size: str) -> Repository:
    """A published model. The originals have its folder right under the checkpoint folder."""
    file = PublishedFile(WEIGHTS, _BYTES[model_size])
    return Repository(f"nvidia/{folder}", "main", (file,), _LICENCE, also_in=(folder,))


MULTIVIEW_MODELS: Mapping[Kind, Repository] = {
    kind: repository(MULTIVIEW["7B"].folder_of(kind), "7B") for kind in ("video2world", "text2world")
}
"""The published models for several cameras."""

MULTIVIEW_CATALOGUE: Mapping[str, tuple[Repository, ...]] = {
    model.name.rpartition("/")[2].removeprefix("Cosmos-Predict1-"): (
        model,
        VIDEO_TOKENIZER,
        *TEXT_ENCODER,
        *GUARDRAILS,
    )
    for model in MULTIVIEW_MODELS.values()
}
"""Model for several cameras to everything that is published for it."""


SINGLE_VIEW_MODELS: Mapping[tuple[Kind, str], Repository] = {
    (kind, size): repository(SINGLE_VIEW[size].folder_of(kind), size)
    for size in ("7B", "14B")
    for kind in ("video2world", "text2world")
}
"""The published models for one camera, by their kind and size."""

PIXTRAL = Repository(
    "mistralai/Pixtral-12B-2409",
    "main",
    (
        PublishedFile("consolidated.safetensors", 25_400_000_000),
        PublishedFile("params.json", 1_000),
        PublishedFile("tekken.json", 14_800_000),
    ),
    "Apache-2.0",
    also_in=("Pixtral-12B", "Pixtral-12B-2409"),
)
"""What writes prompts of Video2World."""

SINGLE_VIEW_CATALOGUE: Mapping[str, tuple[Repository, ...]] = {
    model.name.rpartition("/")[2].removeprefix("Cosmos-Predict1-"): (
        model,
        VIDEO_TOKENIZER,
        *TEXT_ENCODER,
        *GUARDRAILS,
        *([PIXTRAL] if kind == "video2world" else []),
    )
    for (kind, _), model in SINGLE_VIEW_MODELS.items()
}
"""Model for one camera to everything that is published for it."""
