"""Everything about a request that can be known before a model loads: checked, read, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.files.missing import exists
from cosmos_cli.generation import checks, input_frames
from cosmos_cli.generation.checks import check_all_writable, check_lora, check_parallel, check_sharing
from cosmos_cli.generation.files import NeededFile, files_of, own_file
from cosmos_cli.generation.foresight import Job
from cosmos_cli.generation.identity import describe_work, work_key
from cosmos_cli.generation.settings import as_made, guidance_of, negative_prompt_of
from cosmos_cli.generation.work import Frames, Networks, Work
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_cli.settings import MACHINE_ONLY
from cosmos_plugins.nemo_bridge import upsampling
from cosmos_plugins.nemo_bridge.model import CHECKPOINT, has_published_tokenizer, model_of, needed
from cosmos_plugins.nemo_bridge.requests import (
    OPTIONS_WITHOUT_EFFECT,
    SETTINGS_WITHOUT_EFFECT,
    NemoRequest,
    NemoSettings,
    RunVideoOptions,
    VideoOptions,
)
from cosmos_plugins.nemo_bridge.samples import Sample, output_paths

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours

PIPELINE = "cosmos_plugins.nemo_bridge.pipeline:NemoPipeline"

INPUT = "--conditioned-image-or-video-path"
_MAX_CHUNKS = 8
"""Of a video: the published networks count 128 latent frames."""
NUM_STATES = 10
"""Tensors of the latents' shape in float32 that the sampler holds, those in float64 counted twice."""

_WITHOUT_EFFECT = MACHINE_ONLY | {
    *("overwrite", "preview", "video_save_folder", "video_save_name", "video_save_path"),
    *("nemo_checkpoint", "lora_path", "model_size", "cp_size", "t5_cache_dir", "tokenizer_dir"),
    *NemoSettings.offload_options,
    *SETTINGS_WITHOUT_EFFECT,
    *OPTIONS_WITHOUT_EFFECT,
}
"""Fields that do not change what a video shows; of networks the weights count."""


def check(
    settings: NemoSettings, request: NemoRequest, *, writes: bool = True, needs_weights: bool = True
) -> Callable[[], Sample]:
    """See `cosmos_cli.generation.pipeline.Inputs`. A plan looks at the input without decoding it."""
    given: list[tuple[np.ndarray | None, int]] = []
    report_together(
        lambda: check_request(settings, request),
        lambda: check_outputs(request) if writes else None,
        lambda: given.append(read_given(request)) if needs_weights else _check_given(request),
    )
    network = model_of(settings, request.kind).network
    check_sharing(settings, network.num_heads, guided=guidance_of(settings, request) > 0)
    if needs_weights:
        check_checkpoints(settings, request)
    return lambda: with_frames(settings, request, *given[0])


def read(settings: NemoSettings, request: NemoRequest) -> Sample:
    """The input of a request that was checked. Raises InputError if it can no longer be read."""
    return with_frames(settings, request, *read_given(request))


def with_frames(settings: NemoSettings, request: NemoRequest, frames_FHWC: np.ndarray | None, first: int = 0) -> Sample:
    """A sample that begins with these frames, (F, H, W, 3) uint8 of any size, wherever the request has its input."""
    paths, (height, width) = model_of(settings, request.kind).paths, size_of(settings, request)
    num_frames = num_frames_of(settings, request)
    return Sample(request, frames_FHWC, height, width, num_frames, output_paths(request), paths, first)


def size_of(settings: NemoSettings, request: VideoOptions) -> tuple[int, int]:
    """Height and width of the video in pixels."""
    variant = model_of(settings, request.kind).variant
    return request.height or variant.height, request.width or variant.width


def num_frames_of(settings: NemoSettings, request: VideoOptions) -> int:
    """Frames of the video."""
    return request.num_video_frames or model_of(settings, request.kind).variant.chunk_frames


def check_request(settings: NemoSettings, request: VideoOptions) -> None:
    """What no single field can judge, the input and the outputs apart. Raises InputError."""
    check_parallel(settings)
    check_lora(settings.lora_path, settings.lora_alpha)
    upsampling.check_server(settings)
    _check_num_frames(settings, request)
    if request.source is not None and request.num_video_frames == 1:
        raise InputError(
            "is 1, which the input gives: nothing is left to make.",
            where="--num-video-frames",
            fix="Leave it out, or leave out the input to make a picture.",
        )
    if settings.cp_size not in (None, settings.num_gpus):
        raise InputError(
            f"is {settings.cp_size}, but {settings.num_gpus} GPUs are asked for.",
            where="--cp-size",
            fix=f"Leave it out, or pass --num-devices {settings.cp_size}.",
        )


def _check_num_frames(settings: NemoSettings, request: VideoOptions) -> None:
    """Raises InputError: they are no whole chunks."""
    num_frames, chunk_frames = num_frames_of(settings, request), model_of(settings, request.kind).variant.chunk_frames
    most = _MAX_CHUNKS * chunk_frames
    if num_frames != 1 and (num_frames % chunk_frames or num_frames > most):
        raise InputError(
            f"must be 1 or a multiple of {chunk_frames} up to {most}, but is {num_frames}.",
            where="--num-video-frames",
            fix=f"Leave it out to make {chunk_frames}.",
        )


def check_outputs(request: RunVideoOptions) -> None:
    """The files to write can be written and replace nothing unasked. Raises InputError."""
    if request.video_save_path is None:
        check_all_writable(output_paths(request).values(), field="--video-save-folder", overwrite=request.overwrite)
        return
    checks.check_outputs(
        request.video_save_path,
        lambda: output_paths(request),
        overwrite=request.overwrite,
        field="--video-save-path",
    )


def read_given(request: VideoOptions) -> tuple[np.ndarray | None, int]:
    """The frames that the video begins with, see `cosmos_cli.generation.input_frames.read_given`."""
    return input_frames.read_given(request.source, request.num_given, where=INPUT)


def _check_given(request: VideoOptions) -> int:
    return input_frames.check_given(request.source, request.num_given, where=INPUT)


def check_checkpoints(settings: NemoSettings, request: VideoOptions) -> None:
    """All files of the models are there.

    Raises:
        CheckpointError: which are not, how large they are, and how to get them.
    """
    model = model_of(settings, request.kind)
    missing: list[Problem] = []
    if model.is_own and not exists(model.paths.dit):
        fix = "Give a folder of NeMo or diffusers, a native file, or the folder of a training."
        missing.append(Problem(f"{model.paths.dit} does not exist.", CHECKPOINT, fix))
    if not has_published_tokenizer(settings):
        missing += checks.tokenizer_problems(model.paths.tokenizer)
    if settings.t5_cache_dir is not None and not exists(model.paths.text_encoder / "config.json"):
        fix = "Give the folder of the text encoder, or the cache that has google-t5/t5-11b."
        missing.append(Problem(f"{settings.t5_cache_dir} holds no text encoder.", "--t5-cache-dir", fix))
    if upsampling.upsamples_itself(settings):
        missing += upsampling.upsampler_problems(settings)
    checks.check_weights(
        settings,
        lambda: needed(settings, request.kind),
        own={"--lora-path": settings.lora_path},
        missing=missing,
    )


def prompts_of(settings: NemoSettings, request: NemoRequest) -> list[str]:
    """The prompt as it is given, with its subject."""
    return [f"{request.subject}{request.prompt}"]


def key_of(settings: NemoSettings, request: NemoRequest) -> str:
    """What decides what the video of a request shows, see `cosmos_cli.generation.identity.work_key`."""
    weights = model_of(settings, request.kind).paths
    document: dict[str, Any] = describe_work(as_made(settings, weights.text_encoder), request, without=_WITHOUT_EFFECT)
    return work_key(document, [] if request.source is None else [request.source], weights.named())


def work_of(settings: NemoSettings, request: NemoRequest) -> Work:
    """What a request asks of the networks."""
    model, (height, width) = model_of(settings, request.kind), size_of(settings, request)
    num_frames, chunk_frames = num_frames_of(settings, request), model.variant.chunk_frames
    guidance = guidance_of(settings, request)
    return Work(
        Networks(
            cost_of(model.network),
            tokenizer_cost_of(model.variant.helpers.tokenizer),
            text_folder=model.paths.text_encoder,
            refiner_bytes=_upsampler_bytes(settings),
        ),
        clip_px=(min(chunk_frames, num_frames), height, width),
        num_clips=max(1, num_frames // chunk_frames),
        # the last evaluation is at the lowest level, and gives the video
        num_passes=(request.num_steps + 1) * (2 if guidance else 1),
        encoded=((1, request.num_given),) if request.num_given else (),
        num_texts=1 + bool(negative_prompt_of(settings, request)),
        num_contexts=2 if guidance else 1,
        num_states=NUM_STATES,
        is_guided=bool(guidance),
    )


def job_of(settings: NemoSettings, request: NemoRequest) -> Job:
    """What a request that was checked will cost. Raises InputError: there is no input."""
    work = work_of(settings, request)
    _, height, width = work.clip_px
    made = num_frames_of(settings, request)
    frames = Frames(_check_given(request), made, made, chunks=1, height=height, width=width, fps=request.fps)
    given = {} if request.source is None else {"input": str(request.source), "num_input_frames": request.num_given}
    told = ("num_steps", "seed")
    return Job(
        f"nemo {request.kind} {model_of(settings, request.kind).size}",
        {**given, "guidance": guidance_of(settings, request), **{name: getattr(request, name) for name in told}},
        work,
        frames,
        _files(settings, request),
        output_paths(request)["video"],
    )


def _files(settings: NemoSettings, request: VideoOptions) -> list[NeededFile]:
    model = model_of(settings, request.kind)
    paths = model.paths
    own: list[Path] = [paths.dit] if model.is_own else []
    if not has_published_tokenizer(settings):
        own.append(paths.tokenizer)
    if settings.t5_cache_dir is not None:
        own.append(paths.text_encoder)
    if paths.lora is not None:
        own.append(paths.lora)
    shipped = [path for path in paths.named().values() if path not in own]
    chat = [upsampling.upsampler_folder(settings)] if upsampling.upsamples_itself(settings) else []
    return files_of(settings, own=[*own, *chat], shipped=shipped, needed=lambda: needed(settings, request.kind))


def _upsampler_bytes(settings: NemoSettings) -> int:
    """Size of the chat model's files."""
    if not upsampling.upsamples_itself(settings):
        return 0
    return own_file(upsampling.upsampler_folder(settings), "").num_bytes
