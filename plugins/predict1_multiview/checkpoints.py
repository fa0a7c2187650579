"""Published files of Predict1 and where they lie, and what else may stand for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cosmos_cli.checkpoints.catalogue import (
    GUARDRAILS,
    TEXT_ENCODER,
    VIDEO_TOKENIZER,
    PublishedFile,
    Repository,
    folder_named,
)
from cosmos_cli.checkpoints.trained import trained_weights
from cosmos_cli.files.missing import exists
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW, SINGLE_VIEW, Helpers, Kind

TINY_ROOT = Path(__file__).parent / "tiny"
"""Checkpoint folder of the tiny models, in the layout of the published ones."""

WEIGHTS = "model.pt"
"""The network in the folder of a model."""

_LICENCE = "NVIDIA Open Model License"
_BYTES = {"7B": 14_470_000_000, "14B": 28_600_000_000}


class Paths(NamedTuple):
    """Where a run reads its weights. lora: of the network; None for none."""

    dit: Path
    tokenizer: Path
    text_encoder: Path
    lora: Path | None = None

    def named(self) -> dict[str, Path]:
        return {name: path for name, path in self._asdict().items() if path is not None}


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


def paths_of(
    root: Path,
    folder: str,
    helpers: Helpers,
    *,
    tokenizer_dir: str,
    is_tiny: bool,
    own: str | None = None,
    lora: Path | None = None,
) -> Paths:
    """Where the weights of a model lie, whether or not they are there.

    Args:
        root: the checkpoint folder.
        folder: of the model that is taken unless `own` names another one.
        own: a folder under the checkpoint folder, or the path of a folder or file, see `find_weights`.
        lora: to be merged into the network.
    """
    helpers_root = TINY_ROOT if is_tiny else root
    dit = folder_named(helpers_root, folder) / WEIGHTS if own is None else find_weights(root, own)
    return Paths(dit, folder_named(helpers_root, tokenizer_dir), helpers_root / helpers.text_encoder, lora)


def find_weights(root: Path, name: str) -> Path:
    """The weights that a user names: a folder under the checkpoint folder, or a path, also that of a training's folder.

    Returns:
        `model.pt` of a folder that has it, else the newest weights that a training left there, else what is named
        itself. What is not there is looked for as the `model.pt` of a folder under the checkpoint folder.
    """
    places = [root / name, Path(name), root / "nvidia" / name]
    place = next((place for place in places if exists(place)), None)
    if place is None:
        return root / name / WEIGHTS
    if not place.is_dir():
        return place
    model = place / WEIGHTS
    return model if model.is_file() else trained_weights(place) or place
