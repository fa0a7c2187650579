"""What can be wrong with a request: its settings, controls and files."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cosmos_cli import registry
from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.files.missing import why_missing
from cosmos_cli.generation import checks
from cosmos_cli.generation.checks import check_parallel
from cosmos_cli.hookspecs import Package
from cosmos_cli.media.source import is_there
from cosmos_cli.registered import ControlModality
from cosmos_plugins.transfer1.requests import PURE_NOISE_SIGMA, ControlSpec, TransferRequest, TransferSettings

CHECK_PATH = "Check the path: it is relative to the working folder."


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
