"""Everything about a request that can be known before its videos are read, checked; and where its files lie."""

from __future__ import annotations

from pathlib import Path

from cosmos_cli.checkpoints.catalogue import GUARDRAILS, TEXT_ENCODER, require
from cosmos_cli.errors import CheckpointError, InputError, Problem, report_together
from cosmos_cli.runtime.files import check_writable
from cosmos_plugins.transfer1.checkpoints import TINY_ROOT, TOKENIZER
from cosmos_plugins.transfer1.inputs import check_layout
from cosmos_plugins.transfer1.multiview.cameras import Camera, cameras_of
from cosmos_plugins.transfer1.multiview.checkpoints import repository
from cosmos_plugins.transfer1.multiview.requests import MultiviewControl, MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.multiview.samples import Paths
from cosmos_plugins.transfer1.multiview.variants import CONTROLS, MULTIVIEW_VARIANTS, base_file, control_file
from cosmos_plugins.transfer1.variants import VARIANTS


def check(settings: MultiviewSettings, request: MultiviewRequest) -> None:
    """All that can be known about one request without reading its videos.

    Raises:
        InputError: all that is wrong with the settings, the controls, the input and the output.
        CheckpointError: weights are missing.
    """
    check_request(settings, request)
    check_checkpoints(settings, request)


def check_request(settings: MultiviewSettings, request: MultiviewRequest) -> None:
    """All that can be wrong with the settings, the controls, the input files and the output. Raises InputError."""
    cameras = cameras_of(settings.waymo_example)
    report_together(
        lambda: check_settings(settings, request),
        lambda: check_controls(request, cameras),
        lambda: check_files(request, cameras),
        lambda: check_outputs(request),
    )


def output_paths(request: MultiviewRequest) -> dict[str, Path]:
    """The files of one scene: "video", "mosaic", "sidecar", and "preview" if asked for."""
    folder, name = request.video_save_folder, request.video_save_name.removesuffix(".mp4")
    paths = {
        "video": folder / f"{name}.mp4",
        "mosaic": folder / f"{name}_mosaic.mp4",
        "sidecar": folder / f"{name}.json",
    }
    return paths | ({"preview": folder / f"{name}.png"} if request.preview else {})


def weight_paths(settings: MultiviewSettings, request: MultiviewRequest) -> Paths:
    """Where the weights of a request lie, whether or not they are there."""
    root = TINY_ROOT if settings.model_size == "tiny" else settings.checkpoint_dir
    return Paths(
        base=root / base_file(request.kind),
        tokenizer=root / "nvidia" / settings.tokenizer_dir,
        text_encoder=root / VARIANTS[settings.model_size].text_encoder,
        controls={
            name: _within(root, control.ckpt_path)
            if control.ckpt_path is not None
            else root / control_file(request.kind, name, waymo_example=settings.waymo_example)
            for name, control in request.active_controls.items()
        },
    )


def _within(root: Path, path: Path) -> Path:
    """A path as given if it is there, else under the checkpoint folder if it is there."""
    return root / path if not path.exists() and (root / path).exists() else path


def check_settings(settings: MultiviewSettings, request: MultiviewRequest) -> None:
    """What no single field can judge."""
    if settings.parallel is not None and settings.num_gpus == 1:
        raise InputError("has no effect on one GPU.", where="--parallel", fix="Pass --num-gpus too.")
    num_heads = MULTIVIEW_VARIANTS[settings.model_size].dit.num_heads
    check_layout(settings, num_heads=num_heads, guided=request.guidance > 0)


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
        Problem(f"{path} does not exist.", where, "Check the path: it is relative to the working folder.")
        for where, path in named.items()
        if not path.is_file()
    ]
    initial = request.initial_condition_video
    if initial is not None and initial.is_dir():
        missing += [
            Problem(f"{path} does not exist.", f"--initial-condition-video, {camera.name} camera", "Add it.")
            for camera, path in initial_videos(initial, cameras)[1:]
            if not path.is_file()
        ]
    elif initial is not None and not initial.exists():
        missing.append(
            Problem(f"{initial} does not exist.", "--initial-condition-video", "Check the path: a video or a folder.")
        )
    if missing:
        raise InputError.from_problems(missing)


def control_place(name: str, camera: Camera) -> str:
    """How a control video is called in messages."""
    return f"{name}, input_control, {camera.name} camera"


def too_short(num_frames: int, needed: int, place: str) -> Problem:
    """What is wrong with a control video."""
    return Problem(
        f"has {num_frames} frames, fewer than the {needed} that are made.",
        place,
        "Give a control video of the front video's length.",
    )


def initial_videos(folder: Path, cameras: tuple[Camera, ...]) -> list[tuple[Camera, Path]]:
    """The files of a folder with the first frames of every view: 000.mp4 and so on, in the order of the cameras."""
    return [(camera, folder / f"{number:03}.mp4") for number, camera in enumerate(cameras)]


def check_outputs(request: MultiviewRequest) -> None:
    """The files to write can be written and replace nothing unasked."""
    report_together(
        *(
            lambda path=path: check_writable(path, field="--video-save-folder", overwrite=request.overwrite)
            for path in output_paths(request).values()
        )
    )


def check_checkpoints(settings: MultiviewSettings, request: MultiviewRequest) -> None:
    """All files of the models are there.

    Raises:
        CheckpointError: which are not, how large they are, and how to get them.
    """
    paths = weight_paths(settings, request)
    missing = [
        _missing_branch(name, path, request.controls[name])
        for name, path in paths.controls.items()
        if not path.exists() and not is_published(settings, request.controls[name])
    ]
    if settings.model_size != "tiny":
        published = [name for name in paths.controls if is_published(settings, request.controls[name])]
        try:
            needed = [repository([request.kind], published), TOKENIZER, *TEXT_ENCODER, *GUARDRAILS]
            require(needed, settings.checkpoint_dir)
        except CheckpointError as error:
            missing += [*error.problems, Problem("Or try the model that ships with cosmos: --model tiny.")]
    if missing:
        raise CheckpointError.from_problems(missing)


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
