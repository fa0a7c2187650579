"""Published files of Transfer1 and where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cosmos_cli import registry
from cosmos_cli.catalogues import merge, published
from cosmos_cli.checkpoints.catalogue import (
    GUARDRAILS,
    TEXT_ENCODER,
    VIDEO_TOKENIZER,
    PublishedFile,
    Repository,
    folder_named,
    only_for,
)
from cosmos_cli.errors import CheckpointError
from cosmos_cli.files.missing import exists
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_plugins.transfer1.multiview.checkpoints import MODELS
from cosmos_plugins.transfer1.requests import ControlSpec, TransferRequest, TransferSettings
from cosmos_plugins.transfer1.samples import Paths
from cosmos_plugins.transfer1.variants import PERSON_DETECTOR, POSE_ESTIMATOR, VARIANTS, Variant

_LICENCE = "NVIDIA Open Model License"
_BASE_BYTES, _CONTROL_BYTES, _AV_CONTROL_BYTES = 14_472_000_000, 1_787_000_000, 1_783_000_000
_DISTILLED_BYTES = _BASE_BYTES + _CONTROL_BYTES
_REVISION = "main"

_DEPTH = Repository(
    "depth-anything/Depth-Anything-V2-Small-hf",
    _REVISION,
    (
        PublishedFile("config.json", 1_000),
        PublishedFile("preprocessor_config.json", 400),
        PublishedFile("model.safetensors", 99_173_000),
    ),
    "Apache-2.0",
    gated=False,
)
_DETECTOR = Repository(
    "IDEA-Research/grounding-dino-tiny",
    _REVISION,
    (
        PublishedFile("config.json", 2_000),
        PublishedFile("preprocessor_config.json", 500),
        PublishedFile("tokenizer.json", 712_000),
        PublishedFile("tokenizer_config.json", 1_200),
        PublishedFile("vocab.txt", 232_000, is_read_if_there=True),
        PublishedFile("model.safetensors", 689_000_000),
    ),
    "Apache-2.0",
    gated=False,
)
_TRACKER = Repository(
    "facebook/sam2-hiera-large",
    _REVISION,
    (PublishedFile("config.json", 2_000), PublishedFile("model.safetensors", 898_000_000)),
    "Apache-2.0",
    gated=False,
)
_PEOPLE = Repository(
    "Tau-J/RTMPose",
    "cd4d7095f5cfc9cfc4f46289bee91ea4a1e1d9fd",
    (
        PublishedFile(PERSON_DETECTOR, 94_223_081),
        PublishedFile(POSE_ESTIMATOR, 213_433_855),
    ),
    "Apache-2.0",
    gated=False,
)
"""What rtmlib calls "performance", as its author publishes it."""

DEPTH_ESTIMATOR = (_DEPTH,)
"""What computes depth."""

PEOPLE_FINDER = (_PEOPLE,)
"""What computes keypoint."""

OBJECT_FINDER = (_DETECTOR, _TRACKER)
"""What computes seg, and finds the objects of a prompt."""


UPSAMPLER = Repository(
    "nvidia/Cosmos-UpsamplePrompt1-12B-Transfer",
    _REVISION,
    (
        PublishedFile("consolidated.safetensors", 25_400_000_000),
        PublishedFile("params.json", 1_000),
        PublishedFile("tekken.json", 14_800_000),
    ),
    _LICENCE,
)


class _Learnt(NamedTuple):
    """A modality that the upsampler has learnt to look at. rank: the lowest is preferred; of one rank the first."""

    rank: int
    folder: str


# no fields of registered controls: which ones the published upsampler knows was settled when it was trained
_LEARNT: Mapping[str, _Learnt] = {
    "vis": _Learnt(0, "viscontrol"),
    "edge": _Learnt(1, "viscontrol"),
    "seg": _Learnt(2, "segmentation"),
    "depth": _Learnt(2, "depth"),
}


def choose_control(controls: Sequence[str]) -> str | None:
    """The modality whose video the upsampler is shown; None if it knows none of them, and the prompt should stay.

    Args:
        controls: modalities that take part, in the order of the specification.
    Source: cosmos-transfer1, inference/world_generation_pipeline.py (behaviour).
    """
    return min((name for name in controls if name in _LEARNT), key=lambda name: _LEARNT[name].rank, default=None)


def upsampler_folder(checkpoint_dir: Path, control: str) -> Path:
    """Where the upsampler for a modality lies: the published folder itself, or its subfolder for this modality.

    Args:
        control: as returned by `choose_control`.
    Raises:
        CheckpointError: neither holds a model.
    """
    top = checkpoint_dir / UPSAMPLER.name
    folder = _LEARNT[control].folder
    places = (top, top / folder)
    for place in places:
        if any((place / name).is_file() for name in ("params.json", "config.json")):
            return place
    raise CheckpointError(
        f"there is no prompt upsampler: no params.json and no config.json here or in {folder}.",
        where=str(top),
        fix="Download it, give the address of a chat server instead, or leave out --upsample-prompt.",
    )


def base_file(variant: Variant, driving: bool) -> PurePosixPath:
    """The base model under the checkpoint folder; `driving` is the one for road maps and laser points."""
    return PurePosixPath(variant.av_folder if driving else variant.folder) / "base_model.pt"


def control_file(name: str) -> PurePosixPath:
    """Published weights of a modality's control branch under the checkpoint folder."""
    return PurePosixPath(registry.current().controls[name].checkpoint)


def distilled_file(name: str) -> PurePosixPath:
    """The distilled model of a modality that has one, base and control branch in one, under the checkpoint folder."""
    distilled = registry.current().controls[name].distilled
    assert distilled is not None
    return PurePosixPath(distilled)


def branch_file(name: str, *, distilled: bool) -> PurePosixPath:
    """Weights of a modality under the checkpoint folder: of its branch, or of its distilled model."""
    return distilled_file(name) if distilled else control_file(name)


def repositories(
    variant: Variant, controls: Iterable[str], *, driving: bool, distilled: bool, tokenizer: bool = True
) -> list[Repository]:
    """What a run with these controls needs and somebody publishes, guardrails apart.

    Args:
        tokenizer: whether the published one is used.
    """
    base = [] if distilled else [base_file(variant, driving)]
    files = [*base, *(branch_file(name, distilled=distilled) for name in controls)]
    models = merge(found for file in files if (found := published(str(file))) is not None)
    return [*models, *([VIDEO_TOKENIZER] if tokenizer else []), *TEXT_ENCODER]


def _model(folder: str, control_bytes: int, controls: tuple[str, ...]) -> Repository:
    files = [PublishedFile("base_model.pt", _BASE_BYTES)]
    files += [PublishedFile(f"{name}_control.pt", control_bytes) for name in controls]
    return Repository(folder, _REVISION, tuple(files), _LICENCE)


CATALOGUE: Mapping[str, tuple[Repository, ...]] = {
    "7B": (
        _model("nvidia/Cosmos-Transfer1-7B", _CONTROL_BYTES, ("vis", "edge", "depth", "seg", "keypoint", "4kupscaler")),
        VIDEO_TOKENIZER,
        *TEXT_ENCODER,
        *GUARDRAILS,
        *only_for("depth", DEPTH_ESTIMATOR),
        *only_for("seg and masks of named objects", OBJECT_FINDER),
        *only_for("keypoint", PEOPLE_FINDER),
    ),
    "7B-edge-distilled": (
        Repository(
            "nvidia/Cosmos-Transfer1-7B",
            _REVISION,
            (PublishedFile("edge_control_distilled.pt", _DISTILLED_BYTES),),
            _LICENCE,
        ),
        VIDEO_TOKENIZER,
        *TEXT_ENCODER,
        *GUARDRAILS,
    ),
    "7B-Sample-AV": (
        _model("nvidia/Cosmos-Transfer1-7B-Sample-AV", _AV_CONTROL_BYTES, ("hdmap", "lidar")),
        VIDEO_TOKENIZER,
        *TEXT_ENCODER,
        *GUARDRAILS,
    ),
    "7B-Sample-AV-Single2MultiView": (MODELS, VIDEO_TOKENIZER, *TEXT_ENCODER, *GUARDRAILS),
    "UpsamplePrompt1-12B": (UPSAMPLER,),
}
"""Model to everything that is published for it."""


def weight_paths(settings: TransferSettings, request: TransferRequest) -> Paths:
    """Where the weights of a request lie, whether or not they are there."""
    variant = VARIANTS[settings.model_size]
    root = checkpoint_root(settings)
    controls = {name: _control_path(control, name, settings) for name, control in request.active_controls.items()}
    base = root / base_file(variant, settings.is_av_sample)
    if settings.use_distilled:
        [base] = controls.values()  # one file holds both
    return Paths(
        base=base,
        tokenizer=folder_named(root, settings.tokenizer_dir),
        text_encoder=root / variant.text_encoder,
        controls=controls,
    )


def annotator_paths(settings: TransferSettings) -> dict[str, Path]:
    """Folders of the models that make control videos and weight maps, by what they do."""
    root = checkpoint_root(settings)
    found = {name: root / folder for name, folder in VARIANTS[settings.model_size].annotators.items()}
    return found | {"people": _PEOPLE.folder(settings.checkpoint_dir)}  # of which there is no tiny one


def checkpoint_root(settings: TransferSettings) -> Path:
    return TINY_ROOT if settings.model_size == "tiny" else settings.checkpoint_dir


def _control_path(control: ControlSpec, name: str, settings: TransferSettings) -> Path:
    root = checkpoint_root(settings)
    if control.ckpt_path is None:
        return root / (distilled_file(name) if settings.use_distilled else control_file(name))
    within = root / control.ckpt_path
    return within if not exists(control.ckpt_path) and exists(within) else control.ckpt_path
