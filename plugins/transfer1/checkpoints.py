"""Published files of Transfer1 and where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from cosmos_cli import registry
from cosmos_cli.checkpoints.catalogue import T5_11B, PublishedFile, Repository
from cosmos_plugins.transfer1.variants import Variant

TINY_ROOT = Path(__file__).parent / "tiny"
"""Checkpoint folder of the tiny model, in the layout of the published ones."""

_LICENCE = "NVIDIA Open Model License"
_BASE_BYTES, _CONTROL_BYTES, _AV_CONTROL_BYTES = 14_472_000_000, 1_787_000_000, 1_783_000_000
_REVISION = "main"

TOKENIZER = Repository(
    "nvidia/Cosmos-Tokenize1-CV8x8x8-720p",
    _REVISION,
    (PublishedFile("autoencoder.jit", 211_000_000), PublishedFile("mean_std.pt", 3_000)),
    _LICENCE,
)


def base_file(variant: Variant, driving: bool) -> PurePosixPath:
    """The base model under the checkpoint folder; `driving` is the one for road maps and laser points."""
    return PurePosixPath(variant.av_folder if driving else variant.folder) / "base_model.pt"


def control_file(name: str) -> PurePosixPath:
    """Published weights of a modality's control branch under the checkpoint folder."""
    return PurePosixPath(registry.current().extensions["controls"][name].details["checkpoint"])


def repositories(variant: Variant, controls: Iterable[str], *, driving: bool) -> list[Repository]:
    """What a run with the published weights of these controls needs."""
    files = [base_file(variant, driving), *(control_file(name) for name in controls)]
    folders = dict.fromkeys(str(file.parent) for file in files)
    models = [
        Repository(folder, _REVISION, tuple(_published(file) for file in files if str(file.parent) == folder), _LICENCE)
        for folder in folders
    ]
    return [*models, TOKENIZER, T5_11B]


def _published(file: PurePosixPath) -> PublishedFile:
    return PublishedFile(file.name, _BASE_BYTES if file.name == "base_model.pt" else _CONTROL_BYTES)


def _model(folder: str, control_bytes: int, controls: tuple[str, ...]) -> Repository:
    files = [PublishedFile("base_model.pt", _BASE_BYTES)]
    files += [PublishedFile(f"{name}_control.pt", control_bytes) for name in controls]
    return Repository(folder, _REVISION, tuple(files), _LICENCE)


CATALOGUE: Mapping[str, tuple[Repository, ...]] = {
    "7B": (
        _model("nvidia/Cosmos-Transfer1-7B", _CONTROL_BYTES, ("vis", "edge", "depth", "seg", "keypoint", "4kupscaler")),
        TOKENIZER,
        T5_11B,
    ),
    "7B-Sample-AV": (
        _model("nvidia/Cosmos-Transfer1-7B-Sample-AV", _AV_CONTROL_BYTES, ("hdmap", "lidar")),
        TOKENIZER,
        T5_11B,
    ),
}
"""Model to everything that is published for it."""
