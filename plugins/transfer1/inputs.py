"""Everything about a request that can be known before its videos are read, checked; and where its files lie."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from cosmos_cli import registry
from cosmos_cli.checkpoints.catalogue import Repository, require
from cosmos_cli.errors import CheckpointError, InputError, Problem, report_together
from cosmos_cli.hookspecs import Package
from cosmos_cli.runtime.files import check_writable
from cosmos_cli.runtime.workers.layout import choose_layout, parse_layout
from cosmos_cli.settings import ParallelSettings
from cosmos_plugins.transfer1.checkpoints import (
    OBJECT_FINDER,
    TINY_ROOT,
    UPSAMPLER,
    base_file,
    choose_control,
    control_file,
    distilled_file,
    repositories,
    upsampler_folder,
)
from cosmos_plugins.transfer1.requests import PURE_NOISE_SIGMA, ControlSpec, TransferRequest, TransferSettings
from cosmos_plugins.transfer1.samples import Paths
from cosmos_plugins.transfer1.variants import VARIANTS

CHECK_PATH = "Check the path: it is relative to the working folder."


def check(settings: TransferSettings, request: TransferRequest) -> None:
    """All that can be known about one request without reading its videos.

    Raises:
        InputError: all that is wrong with the settings, the controls, the input and the output.
        CheckpointError: weights are missing.
    """
    report_together(
        lambda: check_request(settings, request),
        lambda: check_outputs(request),
        lambda: check_layout(
            settings,
            num_heads=VARIANTS[settings.model_size].dit.num_heads,
            guided=request.guidance > 0 and not settings.use_distilled,
        ),
    )
    check_checkpoints(settings, request)


def check_request(settings: TransferSettings, request: TransferRequest) -> None:
    """All that can be wrong with the settings, the controls and the input files. Raises InputError."""
    report_together(
        lambda: check_settings(settings),
        lambda: check_base_model(settings, request),
        lambda: check_controls(request),
        lambda: check_files(request),
    )


def output_paths(request: TransferRequest) -> dict[str, Path]:
    """The files of one video.

    "video", "sidecar", "preview" if asked for, and what was computed: "control:<name>" and "weight:<name>".
    """
    stem = request.video_save_folder / request.video_save_name.removesuffix(".mp4")
    paths = {"video": stem.with_name(f"{stem.name}.mp4"), "sidecar": stem.with_name(f"{stem.name}.json")}
    if request.preview:
        paths["preview"] = stem.with_name(f"{stem.name}.png")
    return paths | computed_paths(request)


def computed_paths(request: TransferRequest) -> dict[str, Path]:
    """The control videos and the pictures of weight maps that are made out of the input video."""
    folder, stem = request.video_save_folder, request.video_save_name.removesuffix(".mp4")
    modalities, paths = registry.current().controls, {}
    for name, control in request.active_controls.items():
        modality = modalities.get(name)  # another check says what is wrong if there is none
        if control.input_control is None and modality is not None and modality.save_computed:
            paths[f"control:{name}"] = folder / f"{stem}_{name}_input_control.mp4"
        if control.control_weight_prompt is not None:
            paths[f"weight:{name}"] = folder / f"{stem}_{name}_control_weight.mp4"
    return paths


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
        tokenizer=root / "nvidia" / settings.tokenizer_dir,
        text_encoder=root / variant.text_encoder,
        controls=controls,
    )


def annotator_paths(settings: TransferSettings) -> dict[str, Path]:
    """Folders of the models that make control videos and weight maps, by what they do."""
    root = checkpoint_root(settings)
    return {name: root / folder for name, folder in VARIANTS[settings.model_size].annotators.items()}


def checkpoint_root(settings: TransferSettings) -> Path:
    return TINY_ROOT if settings.model_size == "tiny" else settings.checkpoint_dir


def _control_path(control: ControlSpec, name: str, settings: TransferSettings) -> Path:
    root = checkpoint_root(settings)
    if control.ckpt_path is None:
        return root / (distilled_file(name) if settings.use_distilled else control_file(name))
    within = root / control.ckpt_path
    return within if not control.ckpt_path.exists() and within.exists() else control.ckpt_path


def check_settings(settings: TransferSettings) -> None:
    """What no single field can judge."""
    if settings.parallel is not None and settings.num_gpus == 1:
        raise InputError("has no effect on one GPU.", where="--parallel", fix="Pass --num-gpus too.")
    if settings.use_distilled and settings.is_av_sample:
        raise InputError("does not go with --is-av-sample.", where="--use-distilled", fix="Leave one of them out.")
    if settings.upsampler_url is not None and not settings.upsample_prompt:
        raise InputError("has no effect alone.", where="--upsampler-url", fix="Pass --upsample-prompt too.")
    if settings.upsampler_url is not None and settings.upsampler_model is None:
        raise InputError("is required with --upsampler-url.", where="--upsampler-model", fix="Name the server's model.")
    if settings.upsampler_url is not None:
        from cosmos_cli.models.chat_server import completions_url

        completions_url(settings.upsampler_url)


def check_layout(settings: ParallelSettings, *, num_heads: int, guided: bool) -> None:
    """The GPUs that are asked for can share one video, and compiled networks if these are asked for.

    Args:
        num_heads: attention heads of the networks.
        guided: they predict with the prompt and with the negative prompt.
    Raises:
        InputError: no such layout for so many GPUs, one that is for several videos, or one that cannot be compiled.
    """
    if settings.num_gpus == 1:
        return
    if settings.parallel is not None:
        layout = parse_layout(settings.parallel, world_size=settings.num_gpus, num_heads=num_heads)
    else:
        layout = choose_layout(settings.num_gpus, num_heads=num_heads, num_items=1, guided=guided)
    if layout.dp > 1:
        raise InputError(
            f"dp={layout.dp} is for {layout.dp} videos at a time, but one is made.",
            where="--parallel",
            fix="Share it with cp and cfg, or leave --parallel out.",
        )
    if settings.compile and layout.cp > 1:
        from cosmos_cli.runtime.compiling import check_compilable

        check_compilable(layout.cp, is_resident=True)


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
                    f'Install it: pip install "{package.install}"; or give the path of a control video.',
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


def _lacking(modality: registry.ControlModality) -> Package | None:
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
        Problem(f"{path} does not exist.", where, CHECK_PATH)
        for where, path in named.items()
        if path is not None and not path.is_file()
    ]
    if missing:
        raise InputError.from_problems(missing)


def check_outputs(request: TransferRequest) -> None:
    """The files to write can be written and replace nothing unasked."""
    report_together(
        *(
            lambda path=path: check_writable(path, field="--video-save-folder", overwrite=request.overwrite)
            for path in output_paths(request).values()
        )
    )


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
        if not paths.controls[name].exists()
    ]
    if settings.model_size == "tiny":
        missing += [
            Problem("the tiny model has no control branch of this kind.", name, "Use another control, or 7B.")
            for name, path in paths.controls.items()
            if name not in own and not path.exists()
        ]
    published = [name for name in paths.controls if name not in own]
    needed = repositories(
        VARIANTS[settings.model_size], published, driving=settings.is_av_sample, distilled=settings.use_distilled
    )
    _require(settings, [*needed, *needed_annotators(request), *_needed_upsampler(settings, request)], missing)


def _needed_upsampler(settings: TransferSettings, request: TransferRequest) -> list[Repository]:
    """The published prompt upsampler, if it is used and missing.

    Raises:
        CheckpointError: the tiny model, which has none, is asked for one.
    """
    asks_others = settings.upsampler_url is not None or registry.current().extensions.get("prompt_refiners")
    control = choose_control(list(request.active_controls))
    if not settings.upsample_prompt or asks_others or control is None:
        return []
    if settings.model_size == "tiny":
        raise CheckpointError(
            "the tiny model has no prompt upsampler.", where="--upsample-prompt", fix="Name a server: --upsampler-url."
        )
    try:
        upsampler_folder(settings.checkpoint_dir, control)
    except CheckpointError:
        return [UPSAMPLER]
    return []


def check_annotators(settings: TransferSettings, request: TransferRequest) -> None:
    """The models that make the missing controls and weight maps are there. Raises CheckpointError if not."""
    _require(settings, needed_annotators(request), [])


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


def _require(settings: TransferSettings, needed: list[Repository], missing: list[Problem]) -> None:
    if settings.model_size != "tiny":
        try:
            require(needed, settings.checkpoint_dir)
        except CheckpointError as error:
            missing = [*missing, *error.problems, Problem("Or try the model that ships with cosmos: --model tiny.")]
    if missing:
        raise CheckpointError.from_problems(missing)
