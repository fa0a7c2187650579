"""Where the weights of models on general diffusion transformers lie, whether or not they are there."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cosmos_cli.checkpoints.catalogue import folder_named
from cosmos_cli.checkpoints.trained import trained_weights
from cosmos_cli.files.missing import exists
from cosmos_cli.generation.variants import TINY_ROOT, Helpers

WEIGHTS = "model.pt"
"""The network in the folder of a model."""


class Paths(NamedTuple):
    """Where a run reads its weights. lora: of the network; None for none."""

    dit: Path
    tokenizer: Path
    text_encoder: Path
    lora: Path | None = None

    def named(self) -> dict[str, Path]:
        return {name: path for name, path in self._asdict().items() if path is not None}


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
