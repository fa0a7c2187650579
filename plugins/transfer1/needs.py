"""What a run opens beside its videos: published weights, those of one's own, and models that make controls."""

from __future__ import annotations

from collections.abc import Sequence

from cosmos_cli import registry
from cosmos_cli.catalogues import published
from cosmos_cli.checkpoints.catalogue import Repository
from cosmos_cli.checkpoints.required import require
from cosmos_cli.errors import CheckpointError, Problem
from cosmos_cli.files.missing import exists
from cosmos_cli.generation import checks
from cosmos_cli.generation.files import NeededFile, files_of, needed_files, own_file
from cosmos_plugins.transfer1.checkpoints import (
    OBJECT_FINDER,
    PEOPLE_FINDER,
    UPSAMPLER,
    branch_file,
    choose_control,
    repositories,
    upsampler_folder,
    weight_paths,
)
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.variants import VARIANTS


def check_checkpoints(settings: TransferSettings, request: TransferRequest) -> None:
    """All files of the models are there.

    Raises:
        CheckpointError: which are not, how large they are, and how to get them.
    """
    paths = weight_paths(settings, request)
    own = [name for name, control in request.active_controls.items() if control.ckpt_path is not None]
    missing = [
        Problem(f"{paths.controls[name]} does not exist.", f"{name}, ckpt_path", "Check the path.")
        for name in own
        if not exists(paths.controls[name])
    ]
    if settings.model_size == "tiny":
        missing += [
            Problem("the tiny model has no control branch of this kind.", name, "Use another control, or 7B.")
            for name, path in paths.controls.items()
            if name not in own and not path.exists()
        ]
    else:
        missing += [
            Problem(
                "the weights of this control are not published, and not there.",
                name,
                f"Place them at {paths.controls[name]}, or name them as ckpt_path.",
            )
            for name in unpublished(settings, request)
            if not exists(paths.controls[name])
        ]
    if not settings.has_published_tokenizer:
        missing += checks.tokenizer_problems(paths.tokenizer)
    missing += _lacking_beside_tiny(settings, request)
    needed = [*_repositories(settings, request), *needed_annotators(request), *_needed_upsampler(settings, request)]
    checks.check_weights(settings, lambda: needed, missing=missing)


def unpublished(settings: TransferSettings, request: TransferRequest) -> list[str]:
    """The controls whose weights no catalogue knows, those that the user brings apart."""
    return [
        name
        for name, control in request.active_controls.items()
        if control.ckpt_path is None and published(str(branch_file(name, distilled=settings.use_distilled))) is None
    ]


def _repositories(settings: TransferSettings, request: TransferRequest) -> list[Repository]:
    """What is published of the model and of the branches that the user does not bring."""
    names = [name for name, control in request.active_controls.items() if control.ckpt_path is None]
    return repositories(
        VARIANTS[settings.model_size],
        names,
        driving=settings.is_av_sample,
        distilled=settings.use_distilled,
        tokenizer=settings.has_published_tokenizer,
    )


def _lacking_beside_tiny(settings: TransferSettings, request: TransferRequest) -> list[Problem]:
    """What a run of the tiny model opens that is published in full size alone, and is not there."""
    try:
        require(_full_size_alone(request) if settings.is_tiny else (), settings.checkpoint_dir)
    except CheckpointError as error:
        return error.problems
    return []


def _full_size_alone(request: TransferRequest) -> list[Repository]:
    return [repository for repository in needed_annotators(request) if repository in PEOPLE_FINDER]


def _needed_upsampler(settings: TransferSettings, request: TransferRequest) -> list[Repository]:
    """The published prompt upsampler, if it is used and missing."""
    controls = list(request.active_controls)
    if not upsamples_itself(settings, controls):
        return []
    try:
        upsampler_folder(settings.checkpoint_dir, str(choose_control(controls)))
    except CheckpointError:
        return [UPSAMPLER]
    return []


def check_annotators(settings: TransferSettings, request: TransferRequest) -> None:
    """The models that make the missing controls and weight maps are there. Raises CheckpointError if not."""
    if missing := _lacking_beside_tiny(settings, request):
        raise CheckpointError.from_problems(missing)
    checks.require_published(settings, needed_annotators(request))


def needed_annotators(request: TransferRequest) -> list[Repository]:
    """Models that make the missing control videos, weight maps and regions of a request."""
    computed = {name for name, control in request.active_controls.items() if control.input_control is None}
    finds_objects = any(control.control_weight_prompt for control in request.active_controls.values()) or any(
        region.mask_prompt for region in request.regional_prompts
    )
    needed: list[Repository] = []
    for name, modality in registry.current().controls.items():
        if name in computed:
            needed += modality.resolve_models()
    return list(dict.fromkeys([*needed, *(OBJECT_FINDER if finds_objects else ())]))


def upsamples_itself(settings: TransferSettings, controls: Sequence[str]) -> bool:
    """Whether the published upsampler rewrites prompts in this process: unless a server or another package does."""
    return not settings.is_tiny and _asks_nobody_else(settings, controls)


def upsamples_by_rule(settings: TransferSettings, controls: Sequence[str]) -> bool:
    """Whether it is the rule of the tiny model in its place."""
    return settings.is_tiny and _asks_nobody_else(settings, controls)


def _asks_nobody_else(settings: TransferSettings, controls: Sequence[str]) -> bool:
    asks_others = settings.upsampler_url is not None or registry.current().extensions.get("prompt_refiners")
    return bool(settings.upsample_prompt and not asks_others and choose_control(controls))


def files_needed(settings: TransferSettings, request: TransferRequest) -> list[NeededFile]:
    """All files that a run reads, the videos apart."""
    paths = weight_paths(settings, request)
    own_names = [name for name, control in request.active_controls.items() if control.ckpt_path is not None]
    own = [paths.controls[name] for name in own_names]
    if not settings.is_tiny and not settings.has_published_tokenizer:
        own.append(paths.tokenizer)
    files = files_of(
        settings,
        own=own,
        shipped=[path for path in paths.named().values() if path not in own],
        needed=lambda: [
            *_repositories(settings, request),
            *needed_annotators(request),
            *([UPSAMPLER] if upsamples_itself(settings, list(request.active_controls)) else []),
        ],
    )
    if settings.is_tiny:
        return [*files, *needed_files(_full_size_alone(request), settings.checkpoint_dir)]
    return [*files, *(own_file(paths.controls[name], "not published") for name in unpublished(settings, request))]


def upsampler_bytes(settings: TransferSettings, controls: Sequence[str]) -> int:
    """Size of the published upsampler's files, 0 where it is not used."""
    if not upsamples_itself(settings, controls):
        return 0
    return sum(file.num_bytes for file in needed_files([UPSAMPLER], settings.checkpoint_dir))
