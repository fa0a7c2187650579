"""Everything about a request that can be known before a model loads: checked, and the input and control videos read."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cosmos_cli import registry
from cosmos_cli.catalogues import published
from cosmos_cli.checkpoints.catalogue import Repository
from cosmos_cli.checkpoints.required import require
from cosmos_cli.errors import CheckpointError, InputError, Problem, report_together
from cosmos_cli.files.missing import exists, why_missing
from cosmos_cli.generation import checks
from cosmos_cli.generation.checks import check_all_writable, check_parallel, check_sharing
from cosmos_cli.generation.files import NeededFile, files_of, needed_files, own_file
from cosmos_cli.generation.foresight import Job
from cosmos_cli.generation.identity import describe_work, work_key
from cosmos_cli.generation.settings import as_made, guidance_of, negative_prompt_of
from cosmos_cli.generation.work import Frames, Networks, Work
from cosmos_cli.hookspecs import Package
from cosmos_cli.media.source import Source, is_there
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_cli.registered import ControlModality
from cosmos_cli.settings import MACHINE_ONLY
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
from cosmos_plugins.transfer1.chunks import chunk_length, plan_chunks, shortest_of, spill_of
from cosmos_plugins.transfer1.requests import PURE_NOISE_SIGMA, ControlSpec, TransferRequest, TransferSettings
from cosmos_plugins.transfer1.samples import Sample, output_paths
from cosmos_plugins.transfer1.variants import NUM_STATES, UPSCALE_FACTOR, VARIANTS, Variant

PIPELINE = "cosmos_plugins.transfer1.pipeline:TransferPipeline"

CHECK_PATH = "Check the path: it is relative to the working folder."


def check(
    settings: TransferSettings, request: TransferRequest, *, writes: bool = True, needs_weights: bool = True
) -> Callable[[], Sample]:
    """See `cosmos_cli.generation.pipeline.Inputs`; videos are read, and controls computed, by what it returns."""
    num_heads = VARIANTS[settings.model_size].dit.num_heads
    report_together(
        lambda: check_request(settings, request),
        lambda: check_outputs(request) if writes else None,
        lambda: check_clips(request),
        lambda: check_sharing(settings, num_heads, guided=guidance_used(settings, request) > 0),
    )
    if needs_weights:
        check_checkpoints(settings, request)
    return lambda: read(settings, request)


def guidance_used(settings: TransferSettings, request: TransferRequest) -> float:
    """Strength of classifier-free guidance; the distilled model knows none."""
    return 0.0 if settings.use_distilled else guidance_of(settings, request)


def read(settings: TransferSettings, request: TransferRequest) -> Sample:
    """The videos of a request that was checked, and the controls that it lacks."""
    from cosmos_plugins.transfer1.videos import read_sample

    return read_sample(settings, request)


def prompts_of(settings: TransferSettings, request: TransferRequest) -> list[str]:
    """All that a request wants to show; what it does not want may name anything."""
    return [request.prompt, *(region.prompt for region in request.regional_prompts)]


def check_request(settings: TransferSettings, request: TransferRequest) -> None:
    """All that can be wrong with the settings, the controls and the input files. Raises InputError."""
    report_together(
        lambda: check_settings(settings),
        lambda: check_base_model(settings, request),
        lambda: check_controls(request),
        lambda: check_files(request),
    )


def check_settings(settings: TransferSettings) -> None:
    """What no single field can judge."""
    check_parallel(settings)
    if settings.use_distilled and settings.is_av_sample:
        raise InputError("does not go with --is-av-sample.", where="--use-distilled", fix="Leave one of them out.")
    checks.check_upsampler(settings, is_used=settings.upsample_prompt, fix="Pass --upsample-prompt too.")


def check_base_model(settings: TransferSettings, request: TransferRequest) -> None:
    """Controls for driving scenes go with their own base model, and no others do; some go with no others at all."""
    modalities, active = registry.current().controls, list(request.active_controls)
    of_driving = [name for name, modality in modalities.items() if modality.driving]
    of_distilled = [name for name, modality in modalities.items() if modality.distilled is not None]
    driving = [name for name in active if name in of_driving]
    if driving and not settings.is_av_sample:
        raise InputError(
            f"{' and '.join(driving)} need the base model for driving scenes.",
            where="--is-av-sample",
            fix="Pass --is-av-sample.",
        )
    others = [name for name in active if name not in of_driving]
    if settings.use_distilled and (len(active) != 1 or active[0] not in of_distilled):
        raise InputError(
            f"is a model of {' or '.join(of_distilled)} alone, but the controls are {', '.join(active) or 'none'}.",
            where="--use-distilled",
            fix=f"Leave it out, or give {' or '.join(of_distilled)} alone.",
        )
    if request.upscaling_control is not None and len(active) > 1:
        raise InputError("goes alone.", where=request.upscaling_control, fix="Leave out the other controls.")
    without_regions = request.upscaling_control or ("--use-distilled" if settings.use_distilled else None)
    if request.regional_prompts and without_regions:
        raise InputError(f"do not go with {without_regions}.", where="regional_prompts", fix="Leave them out.")
    if others and settings.is_av_sample:
        raise InputError(
            f"the base model for driving scenes has no branch for {' and '.join(others)}.",
            where="--is-av-sample",
            fix=f"Leave it out, or use only {' and '.join(of_driving)}.",
        )


def check_controls(request: TransferRequest) -> None:
    """Every control is known, has a video or can compute one, and asks for nothing that is not there."""
    modalities = registry.current().controls
    problems = []
    if not request.active_controls:
        problems.append(
            Problem("no control takes part.", "--controlnet-specs", f"Give one of: {', '.join(sorted(modalities))}.")
        )
    for name, control in request.controls.items():
        modality = modalities.get(name)
        if modality is None:
            known = ", ".join(sorted(modalities))
            problems.append(Problem(f"there is no modality {name!r}.", "--controlnet-specs", f"Known are: {known}."))
            continue
        if control.input_control is None and modality.factory is None:
            problems.append(
                Problem("has no control video.", f"{name}, input_control", "Give the path of a control video.")
            )
        elif control.input_control is None and request.input_video_path is None:
            problems.append(
                Problem(
                    "has no control video, and there is no input video to compute it from.",
                    f"{name}, input_control",
                    "Give the path of a control video, or pass --input-video-path.",
                )
            )
        elif control.input_control is None and (package := _lacking(modality)) is not None:
            problems.append(
                Problem(
                    f"has no control video, and {package.name}, which {package.does}, is not installed.",
                    f"{name}, input_control",
                    f'Install it with `pip install "{package.install}"`; or give the path of a control video.',
                )
            )
        problems += _problems_of_weight(name, control, request)
    problems += _problems_of_regions(request)
    if request.input_video_path is None and request.sigma_max < PURE_NOISE_SIGMA:
        problems.append(
            Problem(
                f"is {request.sigma_max:g}: noise on an input video, but there is none.",
                "--sigma-max",
                "Pass --sigma-max 80 to start from noise alone, or give --input-video-path.",
            )
        )
    if problems:
        raise InputError.from_problems(problems)


def _lacking(modality: ControlModality) -> Package | None:
    package = modality.needs
    return package if package is not None and importlib.util.find_spec(package.name) is None else None


def _problems_of_weight(name: str, control: ControlSpec, request: TransferRequest) -> list[Problem]:
    if control.control_weight_prompt is None:
        return []
    where = f"{name}, control_weight_prompt"
    if isinstance(control.control_weight, Path):
        return [Problem("does not go with a weight map as control_weight.", where, "Give a number, or leave it out.")]
    if request.input_video_path is None:
        return [Problem("needs an input video to find the objects in.", where, "Pass --input-video-path.")]
    return []


def _problems_of_regions(request: TransferRequest) -> list[Problem]:
    asked = any(region.mask_prompt is not None for region in request.regional_prompts)
    if asked and request.input_video_path is None:
        where, fix = "regional_prompts, mask_prompt", "Pass --input-video-path."
        return [Problem("needs an input video to find the objects in.", where, fix)]
    return []


def check_files(request: TransferRequest) -> None:
    """All files that the request names exist."""
    named = {"--input-video-path": request.input_video_path}
    for name, control in request.active_controls.items():
        named[f"{name}, input_control"] = control.input_control
        if isinstance(control.control_weight, Path):
            named[f"{name}, control_weight"] = control.control_weight
    for number, region in enumerate(request.regional_prompts, start=1):
        if isinstance(region.region_definitions_path, Path):
            named[f"regional_prompts {number}, region_definitions_path"] = region.region_definitions_path
    missing = [
        Problem(f"{path} {why_missing(path)}.", where, CHECK_PATH)
        for where, path in named.items()
        if isinstance(path, Path) and not is_there(path)
    ]
    if missing:
        raise InputError.from_problems(missing)


def check_clips(request: TransferRequest) -> None:
    """The videos that are there begin as videos do. Raises InputError for those that do not; one that lacks is none."""
    from cosmos_cli.media.facts import read_facts

    given = [request.input_video_path, *(control.input_control for control in request.active_controls.values())]
    report_together(*(partial(read_facts, path) for path in given if path is not None and is_there(path)))


def check_decoding(request: TransferRequest) -> None:
    """All files of a request that was checked can be read to their end. Raises InputError for those that cannot."""
    from cosmos_cli.media.video import check_decodes
    from cosmos_plugins.transfer1.weight_maps import read_weight_map

    checks_of_files: list[Callable[[], object]] = []
    if request.input_video_path is not None:
        checks_of_files.append(partial(check_decodes, request.input_video_path))
    for name, control in request.active_controls.items():
        if control.input_control is not None:
            checks_of_files.append(partial(check_decodes, control.input_control))
        if isinstance(control.control_weight, Path):
            where = f"{name}, control_weight"
            checks_of_files.append(partial(read_weight_map, control.control_weight, where=where))
    for region in request.regional_prompts:
        path = region.region_definitions_path
        if isinstance(path, Path) and path.suffix.lower() != ".json":
            checks_of_files.append(partial(check_decodes, path))
    report_together(*checks_of_files)


_WITHOUT_EFFECT = MACHINE_ONLY | {
    *("overwrite", "preview", "video_save_folder", "video_save_name"),
    *TransferSettings.offload_options,
}
"""Fields that do not change what a video shows."""


def key_of(settings: TransferSettings, request: TransferRequest) -> str:
    """What decides what the video of a request shows, see `cosmos_cli.generation.identity.work_key`."""
    weights = weight_paths(settings, request)
    document = describe_work(as_made(settings, weights.text_encoder), request, without=_WITHOUT_EFFECT)
    return work_key(document, _inputs(request), weights.named())


def _inputs(request: TransferRequest) -> list[Source]:
    """All files that the video depends on, weights apart."""
    files: list[Source | None] = [request.input_video_path]
    for control in request.active_controls.values():
        files += [control.input_control, control.control_weight if isinstance(control.control_weight, Path) else None]
    files += [
        region.region_definitions_path
        for region in request.regional_prompts
        if isinstance(region.region_definitions_path, Path)
    ]
    return [file for file in files if file is not None]


def check_outputs(request: TransferRequest) -> None:
    """The files to write can be written and replace nothing unasked."""
    check_all_writable(output_paths(request).values(), field="--video-save-folder", overwrite=request.overwrite)


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


def check_networks(settings: TransferSettings, request: TransferRequest) -> None:
    """See `cosmos_cli.generation.pipeline.Inputs`; where no control is computed, loading finds it as soon."""
    if any(control.input_control is None for control in request.active_controls.values()):
        from cosmos_plugins.transfer1.networks import check_files as check_weights

        check_weights(settings, weight_paths(settings, request))


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


def branch_files(works: Sequence[Work]) -> list[Path]:
    """The files of all control branches that these works need."""
    return list(dict.fromkeys(file for work in works for file in work.networks.branches))


def work_of(settings: TransferSettings, request: TransferRequest) -> Work:
    """What a request asks of the networks. Raises InputError: a video cannot be read."""
    return _measure(settings, request)[0]


def _measure(settings: TransferSettings, request: TransferRequest) -> tuple[Work, Frames, list[str]]:
    frames, tile, told = _frames(request, VARIANTS[settings.model_size])
    # the controls, and the input where it is the start
    num_encoded = len(request.active_controls) + (request.starts_from_video and not settings.use_distilled)
    return work_on(settings, request, frames, tile, num_encoded), frames, told


def work_on(
    settings: TransferSettings, request: TransferRequest, frames: Frames, tile: tuple[int, int], num_encoded: int
) -> Work:
    """What a request asks of the networks, once the length and the size of its video are known.

    Args:
        tile: height and width of the picture that the networks see.
        num_encoded: videos that are encoded chunk by chunk.
    """
    variant, paths = VARIANTS[settings.model_size], weight_paths(settings, request)
    chunk_frames = chunk_length(frames.made, variant.chunk_frames)
    kind = {"driving": settings.is_av_sample, "distilled": settings.use_distilled}
    branch = cost_of(variant.branch(**kind))
    networks = Networks(
        cost_of(variant.base(**kind)),
        tokenizer_cost_of(variant.tokenizer),
        dict.fromkeys(paths.controls.values(), branch),
        paths.text_encoder,
        _upsampler_bytes(settings, list(request.active_controls)),
    )
    is_guided = guidance_used(settings, request) > 0
    num_regions, num_tiles = len(request.regional_prompts), _num_tiles(request)
    tile_px = tile[0] * tile[1]
    return Work(
        networks,
        clip_px=(chunk_frames, *tile),
        num_passes=1 if settings.use_distilled else (request.num_steps + 1) * (1 + is_guided),
        num_tiles=num_tiles,
        num_rounds=frames.chunks,
        encoded=((num_encoded, chunk_frames),),
        num_texts=1 + bool(negative_prompt_of(settings, request)) + num_regions,
        num_contexts=1 + is_guided + num_regions,
        num_regions=num_regions,
        num_states=NUM_STATES,
        is_guided=is_guided,
        read_px=(num_encoded + 1) * frames.made * tile_px,
        held_px=num_encoded * frames.made * tile_px * num_tiles,
    )


def job_of(settings: TransferSettings, request: TransferRequest) -> Job:
    """What a request that was checked will cost. Raises InputError: a video cannot be read."""
    work, frames, told = _measure(settings, request)
    kind = " driving" if settings.is_av_sample else " distilled" if settings.use_distilled else ""
    return Job(
        f"transfer run {settings.model_size}{kind}",
        {
            "input_video_path": str(request.input_video_path) if request.input_video_path else None,
            "controls": list(request.active_controls),
            "num_steps": 1 if settings.use_distilled else request.num_steps,
            "guidance": guidance_used(settings, request),
            "seed": request.seed,
        },
        work,
        frames,
        files_needed(settings, request),
        output_paths(request)["video"],
        notices=[f"the making of {repository.name}'s maps" for repository in needed_annotators(request)],
        told=told,
    )


def _num_tiles(request: TransferRequest) -> int:
    return UPSCALE_FACTOR**2 if request.is_upscaling else 1


def _frames(request: TransferRequest, variant: Variant) -> tuple[Frames, tuple[int, int], list[str]]:
    """Lengths and sizes of the output, the size of the picture that the networks see, and what to tell of them."""
    from cosmos_cli.media.facts import read_facts

    given = {"input": request.input_video_path}
    given |= {name: control.input_control for name, control in request.active_controls.items()}
    videos = {name: read_facts(path) for name, path in given.items() if path is not None}
    first = next(iter(videos.values()))
    made, cut = shortest_of({name: video.num_frames for name, video in videos.items()})
    ratios = {name: int(name.partition(":")[0]) / int(name.partition(":")[2]) for name in variant.sizes}
    nearest = min(ratios, key=lambda name: (ratios[name] - first.width / first.height) ** 2)
    height, width = variant.sizes[nearest]
    chunks = plan_chunks(made, request.num_input_frames, variant.chunk_frames)
    spill = spill_of(made, request.num_input_frames, variant.chunk_frames)
    factor = UPSCALE_FACTOR if request.is_upscaling else 1
    frames = Frames(first.num_frames, made, chunks[-1].stop, len(chunks), factor * height, factor * width, request.fps)
    return frames, (height, width), [line for line in (cut, spill) if line]


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


def _upsampler_bytes(settings: TransferSettings, controls: Sequence[str]) -> int:
    if not upsamples_itself(settings, controls):
        return 0
    return sum(file.num_bytes for file in needed_files([UPSAMPLER], settings.checkpoint_dir))
