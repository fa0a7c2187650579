"""Everything about a request that can be known before a model loads: checked, and the input and control videos read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli import registry
from cosmos_cli.checkpoints.catalogue import require
from cosmos_cli.errors import CheckpointError, InputError, Problem, report_together
from cosmos_cli.runtime.files import check_writable
from cosmos_plugins.transfer1.checkpoints import TINY_ROOT, base_file, control_file, repositories
from cosmos_plugins.transfer1.requests import PURE_NOISE_SIGMA, ControlSpec, TransferRequest, TransferSettings
from cosmos_plugins.transfer1.variants import VARIANTS

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours


DRIVING_CONTROLS = ("hdmap", "lidar")
"""Modalities of the base model for driving scenes."""


@dataclass(frozen=True)
class Control:
    """One modality of a sample, brought to size.

    frames_FHWC: control video, (F, height, width, 3) uint8.
    weight: strength, or a weight map (F, H, W) or (H, W) float32 as it was read.
    is_computed: whether the video was made here, out of the input video.
    """

    name: str
    frames_FHWC: np.ndarray
    weight: float | np.ndarray
    is_computed: bool


@dataclass(frozen=True)
class Sample:
    """One video to make.

    frames_FHWC: the input video, (F, height, width, 3) uint8; None to start from noise alone.
    controls: in the order of the specification, without those of weight 0.
    """

    request: TransferRequest
    frames_FHWC: np.ndarray | None
    controls: tuple[Control, ...]
    height: int
    width: int
    num_frames: int


@dataclass(frozen=True)
class Paths:
    """Where a run reads its weights."""

    base: Path
    tokenizer: Path
    text_encoder: Path
    controls: Mapping[str, Path] = field(default_factory=dict)


def prepare(settings: TransferSettings, request: TransferRequest) -> Sample:
    """Check one request as far as that goes without a model, read its videos and compute the missing controls.

    Raises:
        InputError: all that is wrong with the settings, the controls, the input and the output.
        CheckpointError: weights are missing.
    """
    report_together(
        lambda: check_settings(settings),
        lambda: check_base_model(settings, request),
        lambda: check_controls(request),
        lambda: check_files(request),
        lambda: check_outputs(request),
    )
    check_checkpoints(settings, request)

    from cosmos_plugins.transfer1.videos import read_sample

    return read_sample(request, VARIANTS[settings.model_size])


def active_controls(request: TransferRequest) -> dict[str, ControlSpec]:
    """The controls that take part: those of weight 0 are neither loaded nor computed."""
    return {name: control for name, control in request.controls.items() if control.control_weight != 0}


def output_paths(request: TransferRequest) -> dict[str, Path]:
    """The files of one video: "video", "sidecar", "preview" if asked for, and "control:<name>" for computed ones."""
    stem = request.video_save_folder / request.video_save_name.removesuffix(".mp4")
    paths = {"video": stem.with_name(f"{stem.name}.mp4"), "sidecar": stem.with_name(f"{stem.name}.json")}
    if request.preview:
        paths["preview"] = stem.with_name(f"{stem.name}.png")
    for name, control in active_controls(request).items():
        if control.input_control is None:
            paths[f"control:{name}"] = stem.with_name(f"{stem.name}_{name}_input_control.mp4")
    return paths


def weight_paths(settings: TransferSettings, request: TransferRequest) -> Paths:
    """Where the weights of a request lie, whether or not they are there."""
    variant = VARIANTS[settings.model_size]
    root = checkpoint_root(settings)
    return Paths(
        base=root / base_file(variant, settings.is_av_sample),
        tokenizer=root / "nvidia" / settings.tokenizer_dir,
        text_encoder=root / variant.text_encoder,
        controls={name: _control_path(control, name, root) for name, control in active_controls(request).items()},
    )


def checkpoint_root(settings: TransferSettings) -> Path:
    return TINY_ROOT if settings.model_size == "tiny" else settings.checkpoint_dir


def _control_path(control: ControlSpec, name: str, root: Path) -> Path:
    if control.ckpt_path is None:
        return root / control_file(name)
    within = root / control.ckpt_path
    return within if not control.ckpt_path.exists() and within.exists() else control.ckpt_path


def check_settings(settings: TransferSettings) -> None:
    """What no single field can judge."""
    if settings.num_gpus > 1:
        raise InputError(
            f"asks for {settings.num_gpus} GPUs, but this version runs on one.",
            where="--num-gpus",
            fix="Leave it out, or pass --num-gpus 1.",
        )
    if settings.is_av_sample and settings.model_size == "tiny":
        raise InputError("has no tiny model.", where="--is-av-sample", fix="Leave it out, or use --model-size 7B.")


def check_base_model(settings: TransferSettings, request: TransferRequest) -> None:
    """Controls for driving scenes go with their own base model, and no others do."""
    driving = [name for name in active_controls(request) if name in DRIVING_CONTROLS]
    if driving and not settings.is_av_sample:
        raise InputError(
            f"{' and '.join(driving)} need the base model for driving scenes.",
            where="--is-av-sample",
            fix="Pass --is-av-sample.",
        )
    others = [name for name in active_controls(request) if name not in DRIVING_CONTROLS]
    if others and settings.is_av_sample:
        raise InputError(
            f"the base model for driving scenes has no branch for {' and '.join(others)}.",
            where="--is-av-sample",
            fix=f"Leave it out, or use only {' and '.join(DRIVING_CONTROLS)}.",
        )


def check_controls(request: TransferRequest) -> None:
    """Every control is known, has a video or can compute one, and asks for nothing that is not there."""
    modalities = registry.current().extensions.get("controls", {})
    problems = []
    if not active_controls(request):
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
                Problem(
                    "has no control video, and none can be computed for it in this version.",
                    f"{name}, input_control",
                    "Give the path of a control video.",
                )
            )
        elif control.input_control is None and request.input_video_path is None:
            problems.append(
                Problem(
                    "has no control video, and there is no input video to compute it from.",
                    f"{name}, input_control",
                    "Give the path of a control video, or pass --input-video-path.",
                )
            )
        if control.control_weight_prompt is not None:
            problems.append(
                Problem(
                    "needs models that find objects, which this version does not have.",
                    f"{name}, control_weight_prompt",
                    "Give a weight map as control_weight instead.",
                )
            )
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


def check_files(request: TransferRequest) -> None:
    """All files that the request names exist."""
    named = {"--input-video-path": request.input_video_path}
    for name, control in active_controls(request).items():
        named[f"{name}, input_control"] = control.input_control
        if isinstance(control.control_weight, Path):
            named[f"{name}, control_weight"] = control.control_weight
    missing = [
        Problem(f"{path} does not exist.", where, "Check the path: it is relative to the working folder.")
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
    own = [name for name, control in active_controls(request).items() if control.ckpt_path is not None]
    missing = [
        Problem(f"{paths.controls[name]} does not exist.", f"{name}, ckpt_path", "Check the path.")
        for name in own
        if not paths.controls[name].exists()
    ]
    if settings.model_size == "tiny":
        missing += [
            Problem("the tiny model has no control branch of this kind.", name, "Use vis, edge, depth or seg, or 7B.")
            for name, path in paths.controls.items()
            if name not in own and not path.exists()
        ]
        if missing:
            raise CheckpointError.from_problems(missing)
        return
    published = [name for name in paths.controls if name not in own]
    try:
        require(
            repositories(VARIANTS[settings.model_size], published, driving=settings.is_av_sample),
            settings.checkpoint_dir,
        )
    except CheckpointError as error:
        missing += error.problems
        missing.append(Problem("Or try the model that ships with cosmos: --model tiny."))
    if missing:
        raise CheckpointError.from_problems(missing)
