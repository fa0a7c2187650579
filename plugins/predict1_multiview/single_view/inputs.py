"""Everything about a request that can be known before a model loads: checked, read, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cosmos_cli.checkpoints.catalogue import is_published_tokenizer
from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.files.missing import exists
from cosmos_cli.generation import checks, input_frames
from cosmos_cli.generation.checks import check_all_writable, check_lora, check_parallel, check_sharing
from cosmos_cli.generation.files import NeededFile, files_of
from cosmos_cli.generation.foresight import Job
from cosmos_cli.generation.identity import describe_work, work_key
from cosmos_cli.generation.settings import as_made, guidance_of, negative_prompt_of
from cosmos_cli.generation.variants import NUM_STATES
from cosmos_cli.generation.work import Frames, Networks, Work
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_cli.settings import MACHINE_ONLY
from cosmos_plugins.predict1_multiview.single_view import upsampling
from cosmos_plugins.predict1_multiview.single_view.network import model_of, network_of
from cosmos_plugins.predict1_multiview.single_view.requests import SingleViewOptions, SingleViewSettings
from cosmos_plugins.predict1_multiview.single_view.samples import Sample, output_paths

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours

INPUT = "--input-image-or-video-path"

Request = TypeVar("Request", bound=SingleViewOptions)

_WITHOUT_EFFECT = MACHINE_ONLY | {
    *(
        "overwrite",
        "preview",
        "video_save_folder",
        "video_save_name",
        "diffusion_transformer_dir",
        "lora_path",
        "model_size",
    ),
    *SingleViewSettings.offload_options,
}
"""Fields that do not change what a video shows; of the network the weights count."""


def check(
    settings: SingleViewSettings, request: SingleViewOptions, *, writes: bool = True, needs_weights: bool = True
) -> Callable[[], Sample]:
    """See `cosmos_cli.generation.pipeline.Inputs`. A plan looks at the input without decoding it."""
    given: list[tuple[np.ndarray | None, int]] = []
    report_together(
        lambda: check_request(settings, request),
        lambda: check_outputs(request) if writes else None,
        lambda: given.append(read_given(request)) if needs_weights else _check_given(request),
        lambda: check_sharing(settings, network_of(settings).num_heads, guided=guidance_of(settings, request) > 0),
    )
    if needs_weights:
        check_checkpoints(settings, request)
    return lambda: with_frames(settings, request, *given[0])


def read(settings: SingleViewSettings, request: SingleViewOptions) -> Sample:
    """The input of a request that was checked. Raises InputError if it can no longer be read."""
    return with_frames(settings, request, *read_given(request))


def with_frames(
    settings: SingleViewSettings, request: SingleViewOptions, frames_FHWC: np.ndarray | None, first: int = 0
) -> Sample:
    """A sample that begins with these frames, (F, H, W, 3) uint8 of any size, wherever the request has its input."""
    model, (height, width) = model_of(settings), size_of(settings, request)
    num_frames = model.variant.chunk_frames
    return Sample(request, frames_FHWC, height, width, num_frames, output_paths(request), model.paths, first)


def size_of(settings: SingleViewSettings, request: SingleViewOptions) -> tuple[int, int]:
    """Height and width of the video in pixels."""
    variant = model_of(settings).variant
    return request.height or variant.height, request.width or variant.width


def check_request(settings: SingleViewSettings, request: SingleViewOptions) -> None:
    """What no single field can judge, the input and the outputs apart. Raises InputError."""
    check_parallel(settings)
    check_lora(settings.lora_path, settings.lora_alpha)
    upsampling.check_server(settings)
    checks.check_num_video_frames(request.num_video_frames, model_of(settings).variant.chunk_frames)
    if request.prompt is None and not settings.may_upsample:
        raise InputError(
            "is required: nothing writes a prompt out of the input.", where="--prompt", fix="Give --prompt."
        )


def check_outputs(request: SingleViewOptions) -> None:
    """The files to write can be written and replace nothing unasked."""
    check_all_writable(output_paths(request).values(), field="--video-save-folder", overwrite=request.overwrite)


def read_given(request: SingleViewOptions) -> tuple[np.ndarray | None, int]:
    """The frames that the video begins with, see `cosmos_cli.generation.input_frames.read_given`."""
    return input_frames.read_given(request.source, request.num_given, where=INPUT)


def _check_given(request: SingleViewOptions) -> int:
    return input_frames.check_given(request.source, request.num_given, where=INPUT)


def uses_own_upsampler(settings: SingleViewSettings, request: SingleViewOptions) -> bool:
    """Whether a chat model in this process writes the prompt of a request out."""
    return upsampling.upsamples_itself(settings) and not request.is_long


def check_checkpoints(settings: SingleViewSettings, request: SingleViewOptions) -> None:
    """All files of the models are there.

    Raises:
        CheckpointError: which are not, how large they are, and how to get them.
    """
    model = model_of(settings)
    missing: list[Problem] = []
    ways_out: list[Problem] = []
    chat: list[Any] = []
    if model.is_own and not exists(model.paths.dit):
        where = "--diffusion-transformer-dir"
        fix = "Give a folder under the checkpoint folder, or the path of a folder, of a file or of a training's folder."
        missing.append(Problem(f"{model.paths.dit} does not exist.", where, fix))
    if not is_published_tokenizer(settings.tokenizer_dir):
        missing += checks.tokenizer_problems(model.paths.tokenizer)
    if uses_own_upsampler(settings, request):
        missing += upsampling.upsampler_problems(settings)
        chat = [each for each in upsampling.needed_upsampler(settings) if each.missing(settings.checkpoint_dir)]
        ways_out = upsampling.upsampler_ways_out() if chat else []
    checks.check_weights(
        settings,
        lambda: [*_repositories(settings), *chat],
        own={"--lora-path": settings.lora_path},
        missing=missing,
        ways_out=ways_out,
    )


def _repositories(settings: SingleViewSettings) -> list[Any]:
    published = is_published_tokenizer(settings.tokenizer_dir)
    return model_of(settings).repositories(settings.kind, has_published_tokenizer=published)


def prompts_of(settings: SingleViewSettings, request: SingleViewOptions) -> list[str]:
    """The prompt that is given; one that is written out of the input is checked when it is there."""
    return [] if request.prompt is None else [request.prompt]


def key_of(settings: SingleViewSettings, request: SingleViewOptions) -> str:
    """What decides what the video of a request shows, see `cosmos_cli.generation.identity.work_key`."""
    weights = model_of(settings).paths
    document: dict[str, Any] = describe_work(as_made(settings, weights.text_encoder), request, without=_WITHOUT_EFFECT)
    return work_key(document, [] if request.source is None else [request.source], weights.named())


def work_of(settings: SingleViewSettings, request: SingleViewOptions) -> Work:
    """What a request asks of the networks."""
    model, (height, width) = model_of(settings), size_of(settings, request)
    has_own = uses_own_upsampler(settings, request)
    guidance = guidance_of(settings, request)
    return Work(
        Networks(
            cost_of(network_of(settings)),
            tokenizer_cost_of(model.variant.helpers.tokenizer),
            text_folder=model.paths.text_encoder,
            refiner_bytes=upsampling.upsampler_bytes(settings) if has_own else 0,
        ),
        clip_px=(model.variant.chunk_frames, height, width),
        num_passes=request.num_steps * (2 if guidance else 1),
        encoded=((1, request.num_given),) if request.num_given else (),
        num_texts=1 + bool(negative_prompt_of(settings, request)),
        num_contexts=2 if guidance else 1,
        num_states=NUM_STATES,
        is_guided=bool(guidance),
    )


def job_of(settings: SingleViewSettings, request: SingleViewOptions) -> Job:
    """What a request that was checked will cost. Raises InputError: there is no input."""
    work = work_of(settings, request)
    made, height, width = work.clip_px
    frames = Frames(_check_given(request), made, made, chunks=1, height=height, width=width, fps=request.fps)
    given = {} if request.source is None else {"input": str(request.source), "num_input_frames": request.num_given}
    told = ("num_steps", "seed")
    refines = request.source is not None and settings.may_upsample and upsampling.brings_refiner(settings)
    return Job(
        f"predict1 {settings.kind} {model_of(settings).size}",
        {**given, "guidance": guidance_of(settings, request), **{name: getattr(request, name) for name in told}},
        work,
        frames,
        _files(settings, request),
        output_paths(request)["video"],
        notices=["the prompt refiner of another package"] if refines else [],
    )


def _files(settings: SingleViewSettings, request: SingleViewOptions) -> list[NeededFile]:
    model = model_of(settings)
    own: list[Path] = [model.paths.dit] if model.is_own else []
    if not settings.is_tiny and not is_published_tokenizer(settings.tokenizer_dir):
        own.append(model.paths.tokenizer)
    if model.paths.lora is not None:
        own.append(model.paths.lora)
    shipped = [path for path in model.paths.named().values() if path not in own]
    chat = uses_own_upsampler(settings, request)
    return files_of(
        settings,
        own=[*own, *(upsampling.own_folders(settings) if chat else [])],
        shipped=shipped,
        needed=lambda: [*_repositories(settings), *(upsampling.needed_upsampler(settings) if chat else [])],
    )
