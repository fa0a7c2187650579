"""Everything about a request that can be known before a model loads: checked, and its input read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cosmos_cli.checkpoints.catalogue import TEXT_ENCODER, VIDEO_TOKENIZER, Repository, is_published_tokenizer
from cosmos_cli.errors import Problem, report_together
from cosmos_cli.files.missing import exists
from cosmos_cli.generation import checks
from cosmos_cli.generation.cameras import Camera
from cosmos_cli.generation.checks import check_all_writable, check_file, check_lora, check_parallel, check_sharing
from cosmos_cli.generation.files import NeededFile, files_of
from cosmos_cli.generation.foresight import Job
from cosmos_cli.generation.identity import describe_work, work_key
from cosmos_cli.generation.settings import as_made, guidance_of
from cosmos_cli.generation.variants import NUM_STATES, Kind
from cosmos_cli.generation.work import Frames, Networks, Work
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_cli.settings import MACHINE_ONLY
from cosmos_plugins.predict1_multiview.checkpoints import MULTIVIEW_MODELS
from cosmos_plugins.predict1_multiview.multiview.cameras import cameras_of
from cosmos_plugins.predict1_multiview.multiview.network import network_of
from cosmos_plugins.predict1_multiview.multiview.requests import (
    OPTIONS_WITHOUT_EFFECT,
    SETTINGS_WITHOUT_EFFECT,
    MultiviewRequest,
    MultiviewSettings,
)
from cosmos_plugins.predict1_multiview.multiview.samples import Sample, output_paths, size_of, weight_paths
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW

PIPELINE = "cosmos_plugins.predict1_multiview.multiview.pipeline:MultiviewPipeline"

_WITHOUT_EFFECT = MACHINE_ONLY | {
    *("overwrite", "preview", "video_save_folder", "video_save_name", "diffusion_transformer_dir", "lora_path"),
    *MultiviewSettings.offload_options,
    *SETTINGS_WITHOUT_EFFECT,
    *OPTIONS_WITHOUT_EFFECT,
}
"""Fields that do not change what a video shows; of the network the weights count."""


def check(
    settings: MultiviewSettings, request: MultiviewRequest, *, writes: bool = True, needs_weights: bool = True
) -> Callable[[], Sample]:
    """See `cosmos_cli.generation.pipeline.Inputs`; the input is read by what it returns."""
    report_together(
        lambda: check_settings(settings, request),
        lambda: check_files(request),
        lambda: check_outputs(request) if writes else None,
    )
    if needs_weights:
        check_checkpoints(settings, request.kind)
    return lambda: read(settings, request)


def read(settings: MultiviewSettings, request: MultiviewRequest) -> Sample:
    """The input of a request that was checked. Raises InputError: it cannot be read, or does not fit the cameras."""
    from cosmos_plugins.predict1_multiview.multiview.videos import read_sample

    return read_sample(settings, request)


def check_settings(settings: MultiviewSettings, request: MultiviewRequest) -> None:
    """What no single field can judge."""
    check_parallel(settings)
    check_lora(settings.lora_path, settings.lora_alpha)
    variant = MULTIVIEW[settings.model_size]
    checks.check_num_video_frames(request.num_video_frames, variant.chunk_frames)
    check_sharing(settings, variant.dit.num_heads, guided=guidance_of(settings, request) > 0)


def check_files(request: MultiviewRequest) -> None:
    """The input, where there is one, exists."""
    if request.input_image_or_video_path is not None:
        check_file(
            request.input_image_or_video_path,
            "--input-image-or-video-path",
            "a video of all cameras, one after the other",
        )


def check_outputs(request: MultiviewRequest) -> None:
    """The files to write can be written and replace nothing unasked."""
    check_all_writable(output_paths(request).values(), field="--video-save-folder", overwrite=request.overwrite)


def check_checkpoints(settings: MultiviewSettings, kind: Kind) -> None:
    """All files of the model are there.

    Raises:
        CheckpointError: which are not, how large they are, and how to get them.
    """
    paths, own = weight_paths(settings, kind), settings.diffusion_transformer_dir
    missing = []
    if own is not None and not exists(paths.dit):
        where = "--diffusion-transformer-dir"
        fix = "Give a folder under the checkpoint folder, or the path of a folder, of a file or of a training's folder."
        missing.append(Problem(f"{paths.dit} does not exist.", where, fix))
    if not is_published_tokenizer(settings.tokenizer_dir):
        missing += checks.tokenizer_problems(paths.tokenizer)
    lora = {"--lora-path": settings.lora_path}
    checks.check_weights(settings, lambda: _repositories(settings, kind), own=lora, missing=missing)


def _repositories(settings: MultiviewSettings, kind: Kind) -> list[Repository]:
    """What is published of the model, but for what the user brings."""
    return [
        *([MULTIVIEW_MODELS[kind]] if settings.diffusion_transformer_dir is None else []),
        *([VIDEO_TOKENIZER] if is_published_tokenizer(settings.tokenizer_dir) else []),
        *TEXT_ENCODER,
    ]


def prompts_of_cameras(cameras: Sequence[Camera], request: MultiviewRequest) -> list[str]:
    """The prompt of every camera, as its network reads it."""
    return [getattr(request, camera.field) for camera in cameras]


def prompts_of(settings: MultiviewSettings, request: MultiviewRequest) -> list[str]:
    """The prompts of all cameras; each is checked alone."""
    return prompts_of_cameras(cameras_of(network_of(settings, request.kind).n_views), request)


def key_of(settings: MultiviewSettings, request: MultiviewRequest) -> str:
    """What decides what the videos of a request show, see `cosmos_cli.generation.identity.work_key`."""
    weights = weight_paths(settings, request.kind)
    document: dict[str, Any] = describe_work(as_made(settings, weights.text_encoder), request, without=_WITHOUT_EFFECT)
    source = request.input_image_or_video_path
    return work_key(document, [] if source is None else [source], weights.named())


def work_of(settings: MultiviewSettings, request: MultiviewRequest) -> Work:
    """What a request asks of the networks. Raises InputError: the input cannot be read, or does not fit."""
    return _measure(settings, request)[0]


def _measure(settings: MultiviewSettings, request: MultiviewRequest) -> tuple[Work, Frames]:
    variant, config = MULTIVIEW[settings.model_size], network_of(settings, request.kind)
    num_views, (height, width) = config.n_views, size_of(settings, request)
    num_frames, pixels = num_views * variant.chunk_frames, height * width
    num_given, given_px, held_px = _given(request, num_views)
    guidance = guidance_of(settings, request)
    work = Work(
        Networks(
            cost_of(config),
            tokenizer_cost_of(variant.helpers.tokenizer),
            text_folder=weight_paths(settings, request.kind).text_encoder,
        ),
        clip_px=(variant.chunk_frames, height, width),
        num_passes=request.num_steps * (2 if guidance else 1),
        num_clips=num_views,
        encoded=((num_views, request.num_input_frames),) if num_given else (),
        num_texts=num_views,
        num_contexts=2 if guidance else 1,
        num_states=NUM_STATES,
        is_guided=bool(guidance),
        read_px=given_px,
        held_px=held_px,
        num_copies=2,  # the video, and the grid
        encoder_px=num_views * pixels,
    )
    frames = Frames(num_given, num_frames, num_frames, chunks=1, height=height, width=width, fps=request.fps)
    return work, frames


def _given(request: MultiviewRequest, num_views: int) -> tuple[int, int, int]:
    """Frames of the input, pixels of them, and of those that stay in memory; zeros if there is none."""
    from cosmos_plugins.predict1_multiview.multiview.videos import check_input

    source = request.input_image_or_video_path
    if source is None:
        return 0, 0, 0
    num_frames, height, width = check_input(source, cameras_of(num_views), request.num_input_frames)
    return num_frames, num_frames * height * width, num_views * request.num_input_frames * height * width


def job_of(settings: MultiviewSettings, request: MultiviewRequest) -> Job:
    """What a request that was checked will cost. Raises InputError: the input cannot be read, or does not fit."""
    work, frames = _measure(settings, request)
    cameras = cameras_of(work.num_clips)
    source = request.input_image_or_video_path
    return Job(
        f"predict1-multiview run {settings.model_size} {request.kind}",
        {
            "input_image_or_video_path": None if source is None else str(source),
            "cameras": [camera.name for camera in cameras],
            "num_steps": request.num_steps,
            "guidance": guidance_of(settings, request),
            "seed": request.seed,
        },
        work,
        frames,
        _files(settings, request),
        output_paths(request)["video"],
    )


def _files(settings: MultiviewSettings, request: MultiviewRequest) -> list[NeededFile]:
    paths = weight_paths(settings, request.kind)
    own: list[Path] = [] if settings.diffusion_transformer_dir is None else [paths.dit]
    if not settings.is_tiny and not is_published_tokenizer(settings.tokenizer_dir):
        own.append(paths.tokenizer)
    if paths.lora is not None:
        own.append(paths.lora)
    shipped = [path for path in paths.named().values() if path not in own]
    return files_of(settings, own=own, shipped=shipped, needed=lambda: _repositories(settings, request.kind))
