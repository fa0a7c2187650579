"""Everything about a request that can be known before a model loads: checked, and all videos read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli.checkpoints.catalogue import TEXT_ENCODER, VIDEO_TOKENIZER, Repository, is_published_tokenizer
from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.files.missing import exists, why_missing
from cosmos_cli.generation import checks
from cosmos_cli.generation.cameras import Camera
from cosmos_cli.generation.checks import check_all_writable, check_parallel, check_sharing
from cosmos_cli.generation.files import NeededFile, files_of
from cosmos_cli.generation.foresight import Job
from cosmos_cli.generation.work import Frames, Networks, Work
from cosmos_cli.media.source import GivenFrames, is_there
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_plugins.transfer1.multiview.cameras import cameras_of, full_prompt
from cosmos_plugins.transfer1.multiview.checkpoints import repository
from cosmos_plugins.transfer1.multiview.requests import MultiviewControl, MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.multiview.samples import (
    Sample,
    control_place,
    initial_videos,
    output_paths,
    too_short,
    weight_paths,
)
from cosmos_plugins.transfer1.multiview.variants import CLIP_FRAMES, CONTROLS, MULTIVIEW_VARIANTS
from cosmos_plugins.transfer1.variants import NUM_STATES, VARIANTS

if TYPE_CHECKING:
    from cosmos_plugins.transfer1.chunks import Chunk

PIPELINE = "cosmos_plugins.transfer1.multiview.pipeline:MultiviewPipeline"


def check(
    settings: MultiviewSettings, request: MultiviewRequest, *, writes: bool = True, needs_weights: bool = True
) -> Callable[[], Sample]:
    """See `cosmos_cli.generation.pipeline.Inputs`; videos are read by what it returns."""
    cameras = cameras_of(settings.waymo_example)
    report_together(
        lambda: check_settings(settings, request),
        lambda: check_controls(request, cameras),
        lambda: check_files(request, cameras),
        lambda: check_outputs(request) if writes else None,
    )
    if needs_weights:
        check_checkpoints(settings, request)
    return lambda: read(settings, request)


def read(settings: MultiviewSettings, request: MultiviewRequest) -> Sample:
    """The videos of a request that was checked. Raises InputError: one cannot be read, or is too short."""
    from cosmos_plugins.transfer1.multiview.videos import read_sample

    return read_sample(settings, request)


def check_settings(settings: MultiviewSettings, request: MultiviewRequest) -> None:
    """What no single field can judge."""
    check_parallel(settings)
    num_heads = MULTIVIEW_VARIANTS[settings.model_size].dit.num_heads
    check_sharing(settings, num_heads, guided=request.guidance > 0)


def check_controls(request: MultiviewRequest, cameras: tuple[Camera, ...]) -> None:
    """Every control is known and has a video for every camera."""
    problems = []
    for name, control in request.controls.items():
        if name not in CONTROLS:
            known = ", ".join(CONTROLS)
            problems.append(Problem(f"there is no modality {name!r}.", "--controlnet-specs", f"Known are: {known}."))
            continue
        given = len(control.input_control)
        wanted = ", ".join(camera.name for camera in cameras)
        missing = ", ".join(camera.name for camera in cameras[given:])
        if missing:
            problems.append(
                Problem(
                    f"has {given} videos for {len(cameras)} cameras: none for {missing}.",
                    f"{name}, input_control",
                    f"Give one per camera, in this order: {wanted}.",
                )
            )
        elif given > len(cameras):
            problems.append(
                Problem(
                    f"has {given} videos for {len(cameras)} cameras.",
                    f"{name}, input_control",
                    f"Give one per camera, in this order: {wanted}.",
                )
            )
    if problems:
        raise InputError.from_problems(problems)


def check_files(request: MultiviewRequest, cameras: tuple[Camera, ...]) -> None:
    """All files that the request names exist."""
    named = {"--view-condition-video, front camera": request.view_condition_video}
    for name, control in request.active_controls.items():
        # the number of videos is judged elsewhere
        for camera, path in zip(cameras, control.input_control, strict=False):
            named[control_place(name, camera)] = path
    missing = [
        Problem(f"{path} {why_missing(path)}.", where, "Check the path: it is relative to the working folder.")
        for where, path in named.items()
        if isinstance(path, Path) and not is_there(path)
    ]
    initial = request.initial_condition_video
    if isinstance(initial, GivenFrames):
        initial = None
    if initial is not None and exists(initial) and initial.is_dir():
        missing += [
            Problem(f"{path} does not exist.", f"--initial-condition-video, {camera.name} camera", "Add it.")
            for camera, path in initial_videos(initial, cameras)[1:]
            if not path.is_file()
        ]
    elif initial is not None and not exists(initial):
        missing.append(
            Problem(
                f"{initial} {why_missing(initial)}.",
                "--initial-condition-video",
                "Check the path: a video or a folder.",
            )
        )
    if missing:
        raise InputError.from_problems(missing)


def check_outputs(request: MultiviewRequest) -> None:
    """The files to write can be written and replace nothing unasked."""
    check_all_writable(output_paths(request).values(), field="--video-save-folder", overwrite=request.overwrite)


def check_checkpoints(settings: MultiviewSettings, request: MultiviewRequest) -> None:
    """All files of the models are there.

    Raises:
        CheckpointError: which are not, how large they are, and how to get them.
    """
    paths = weight_paths(settings, request)
    missing = [
        _missing_branch(name, path, request.controls[name])
        for name, path in paths.controls.items()
        if not exists(path) and not is_published(settings, request.controls[name])
    ]
    if not is_published_tokenizer(settings.tokenizer_dir):
        missing += checks.tokenizer_problems(paths.tokenizer)
    checks.check_weights(settings, lambda: _repositories(settings, request), missing=missing)


def _repositories(settings: MultiviewSettings, request: MultiviewRequest) -> list[Repository]:
    """What is published of the model and of the branches that the user does not bring."""
    published = [name for name, control in request.active_controls.items() if is_published(settings, control)]
    tokenizer = [VIDEO_TOKENIZER] if is_published_tokenizer(settings.tokenizer_dir) else []
    return [repository([request.kind], published), *tokenizer, *TEXT_ENCODER]


def is_published(settings: MultiviewSettings, control: MultiviewControl) -> bool:
    """Whether a control's branch is one of those that can be downloaded."""
    return control.ckpt_path is None and settings.model_size != "tiny" and not settings.waymo_example


def _missing_branch(name: str, path: Path, control: MultiviewControl) -> Problem:
    if control.ckpt_path is not None:
        return Problem(f"{path} does not exist.", f"{name}, ckpt_path", "Check the path.")
    return Problem(
        f"{path} does not exist: the branch for these cameras is not published, one trains it.",
        f"{name}, ckpt_path",
        "Give the path of its weights as ckpt_path.",
    )


def prompts_of_cameras(cameras: Sequence[Camera], request: MultiviewRequest) -> list[str]:
    """The prompt of every camera, as its network reads it."""
    return [full_prompt(camera, getattr(request, camera.field)) for camera in cameras]


def prompts_of(settings: MultiviewSettings, request: MultiviewRequest) -> list[str]:
    """All prompts as one text, which is how they are checked."""
    return [". ".join(prompts_of_cameras(cameras_of(settings.waymo_example), request))]


def branch_files(works: Sequence[Work]) -> list[Path]:
    """The files of all control branches that these works need."""
    return list(dict.fromkeys(file for work in works for file in work.networks.branches))


def work_of(settings: MultiviewSettings, request: MultiviewRequest) -> Work:
    """What a request asks of the networks. Raises InputError: a video cannot be read, or is too short."""
    return _measure(settings, request)[0]


def _measure(settings: MultiviewSettings, request: MultiviewRequest) -> tuple[Work, Frames]:
    variant, paths = MULTIVIEW_VARIANTS[settings.model_size], weight_paths(settings, request)
    num_views = len(cameras_of(settings.waymo_example))
    num_given, clips = _clips(settings, request)
    networks = Networks(
        cost_of(variant.base(num_views)),
        tokenizer_cost_of(VARIANTS[settings.model_size].tokenizer),
        dict.fromkeys(paths.controls.values(), cost_of(variant.branch(num_views))),
        paths.text_encoder,
    )
    frames = Frames(
        given=num_given,
        made=num_views * clips[-1].stop,
        computed=num_views * len(clips) * CLIP_FRAMES,
        chunks=len(clips),
        height=variant.height,
        width=variant.width,
        fps=request.fps,
    )
    # the controls of all views, and the front video; where clips go on, the frames that they share too
    num_encoded = num_views * len(request.active_controls) + 1
    shared = ((num_views, request.num_input_frames),) if request.kind == "v2w" else ()
    pixels = variant.height * variant.width
    given_px = num_encoded * clips[-1].stop * pixels
    work = Work(
        networks,
        clip_px=(CLIP_FRAMES, variant.height, variant.width),
        num_passes=(request.num_steps + 1) * (2 if request.guidance else 1),
        num_clips=num_views,
        num_rounds=len(clips),
        encoded=((num_encoded, CLIP_FRAMES), *shared),
        clip_bytes=4,  # given frames go in float32
        num_texts=num_views,
        num_contexts=2 if request.guidance else 1,
        num_states=NUM_STATES,
        is_guided=bool(request.guidance),
        read_px=given_px,
        held_px=given_px,
        num_copies=2,  # the video, and the mosaic
        encoder_px=num_views * pixels,
    )
    return work, frames


def job_of(settings: MultiviewSettings, request: MultiviewRequest) -> Job:
    """What a request that was checked will cost. Raises InputError: a video cannot be read, or is too short."""
    work, frames = _measure(settings, request)
    return Job(
        f"transfer multiview {settings.model_size} {request.kind}",
        {
            "view_condition_video": str(request.view_condition_video),
            "cameras": [camera.name for camera in cameras_of(settings.waymo_example)],
            "controls": list(request.active_controls),
            "num_steps": request.num_steps,
            "guidance": request.guidance,
            "seed": request.seed,
        },
        work,
        frames,
        _files(settings, request),
        output_paths(request)["video"],
    )


def _clips(settings: MultiviewSettings, request: MultiviewRequest) -> tuple[int, list[Chunk]]:
    """Frames of the front video, and the clips that it is good for, if the control videos are as long."""
    from cosmos_cli.media.facts import read_facts
    from cosmos_plugins.transfer1.multiview.clips import clips_of

    num_given = read_facts(request.view_condition_video).num_frames
    clips, problems = clips_of(request, num_given), []
    for name, control in request.active_controls.items():
        for camera, path in zip(cameras_of(settings.waymo_example), control.input_control, strict=True):
            num_frames = read_facts(path).num_frames
            if num_frames < clips[-1].stop:
                problems.append(too_short(num_frames, clips[-1].stop, control_place(name, camera)))
    if problems:
        raise InputError.from_problems(problems)
    return num_given, clips


def _files(settings: MultiviewSettings, request: MultiviewRequest) -> list[NeededFile]:
    paths = weight_paths(settings, request)
    if settings.is_tiny:
        own = [paths.controls[name] for name, control in request.active_controls.items() if control.ckpt_path]
    else:
        own = [path for name, path in paths.controls.items() if not is_published(settings, request.controls[name])]
        if not is_published_tokenizer(settings.tokenizer_dir):
            own.append(paths.tokenizer)
    return files_of(
        settings,
        own=own,
        shipped=[path for path in paths.named().values() if path not in own],
        needed=lambda: _repositories(settings, request),
    )
