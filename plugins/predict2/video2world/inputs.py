"""Everything about a request that can be known before a model loads: checked, and the input frames read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_cli import registry
from cosmos_cli.checkpoints.catalogue import GUARDRAILS, Repository, require
from cosmos_cli.errors import CheckpointError, InputError, Problem, report_together
from cosmos_cli.requests import option_name, validate
from cosmos_cli.runtime.files import check_writable
from cosmos_plugins.predict2.checkpoints import REASON1, TINY_ROOT, dit_file, repositories
from cosmos_plugins.predict2.checks import Weights
from cosmos_plugins.predict2.requests import Video2WorldOptions, Video2WorldRequest, Video2WorldSettings
from cosmos_plugins.predict2.variants import VARIANTS

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours


@dataclass(frozen=True)
class Paths(Weights):
    """Where a run reads its weights."""

    lora: Path | None = None


@dataclass(frozen=True)
class Sample:
    """One video to make, its input read and brought to size.

    frames_FHWC: the conditioning frames, (1 or 5, height, width, 3) uint8.
    source_FHWC: the same in the input's own size, uncropped, for the prompt refiner.
    """

    request: Video2WorldRequest
    frames_FHWC: np.ndarray
    source_FHWC: np.ndarray
    height: int
    width: int
    num_frames: int


def prepare(settings: Video2WorldSettings, request: Video2WorldRequest) -> Sample:
    """Check one request as far as that goes without a model, and read its input.

    Raises:
        InputError: all that is wrong with the settings, the input and the output.
        CheckpointError: weights are missing.
    """
    frames: list[np.ndarray] = []
    report_together(
        lambda: check_settings(settings),
        lambda: check_length(settings, request),
        lambda: check_outputs(request),
        lambda: frames.append(read_conditioning_frames(request)),
    )
    check_checkpoints(settings)
    return _sample(settings, request, frames[0])


def read(settings: Video2WorldSettings, request: Video2WorldRequest) -> Sample:
    """The input of a request that was checked. Raises InputError if it can no longer be read."""
    return _sample(settings, request, read_conditioning_frames(request))


def as_request(options: Video2WorldOptions, **changes: Any) -> Video2WorldRequest:
    """The request that options make, with some fields changed.

    Raises:
        InputError: the input or the prompt is missing, or a changed field is out of its range.
    """
    fields = Video2WorldRequest.model_fields
    values = {name: value for name, value in options if name in fields and value is not None} | changes
    [request] = validate([Video2WorldRequest], values, name_of=option_name)
    assert isinstance(request, Video2WorldRequest)
    return request


def _sample(settings: Video2WorldSettings, request: Video2WorldRequest, frames_FHWC: np.ndarray) -> Sample:
    from cosmos_cli.media.resize import cover_and_crop

    variant = VARIANTS[settings.model_size]
    height, width = variant.sizes[resolution_of(settings)][request.aspect_ratio]
    return Sample(
        request,
        cover_and_crop(frames_FHWC, height, width),
        frames_FHWC,
        height,
        width,
        request.num_frames or variant.num_frames[settings.fps],
    )


def resolution_of(settings: Video2WorldSettings) -> str:
    """The resolution asked for, or the model's own."""
    return settings.resolution or VARIANTS[settings.model_size].default_resolution


def output_paths(request: Video2WorldRequest) -> dict[str, Path]:
    """The files of one video: "video", "sidecar", and "preview" where one is asked for."""
    video = request.save_path if request.save_path.suffix else request.save_path.with_suffix(".mp4")
    paths = {"video": video, "sidecar": video.with_suffix(".json")}
    if request.preview:
        paths["preview"] = video.with_suffix(".png")
    return paths


def weight_paths(settings: Video2WorldSettings) -> Paths:
    """Where the weights of these settings lie, whether or not they are there."""
    variant = VARIANTS[settings.model_size]
    root = TINY_ROOT if settings.model_size == "tiny" else settings.checkpoint_dir
    model = root / variant.folder
    return Paths(
        dit=settings.dit_path or model / _dit_file(settings),
        tokenizer=model / "tokenizer" / "tokenizer.pth",
        text_encoder=root / variant.text_encoder,
        lora=settings.lora_path,
    )


def _dit_file(settings: Video2WorldSettings) -> str:
    # the tiny model has one set of weights, whatever size of picture it is asked for
    resolution = "tiny" if settings.model_size == "tiny" else resolution_of(settings)
    return dit_file(resolution, settings.fps, settings.natten)


def check_settings(settings: Video2WorldSettings) -> None:
    """Combinations that no single field can judge."""
    if settings.parallel is not None and settings.num_gpus == 1:
        raise InputError("has no effect on one GPU.", where="--parallel", fix="Pass --num-gpus too.")
    if settings.natten and (settings.model_size == "tiny" or resolution_of(settings) != "720"):
        raise InputError(
            f"has no checkpoint for {settings.model_size} at {resolution_of(settings)}.",
            where="--natten",
            fix="Use --model-size 2B or 14B with --resolution 720, or leave it out.",
        )
    if settings.load_ema and not (settings.dit_path or settings.lora_path):
        raise InputError(
            "needs --dit-path or --lora-path: the published files hold no averaged weights.",
            where="--load-ema",
            fix="Leave it out.",
        )
    if settings.refiner_model is not None and settings.refiner_url is None:
        raise InputError("has no effect alone.", where="--refiner-model", fix="Pass --refiner-url too.")
    if settings.refiner_url is not None:
        if settings.disable_prompt_refiner:
            raise InputError(
                "contradicts --disable-prompt-refiner.", where="--refiner-url", fix="Leave one of them out."
            )
        from cosmos_cli.models.chat_server import completions_url

        completions_url(settings.refiner_url)
    if settings.lora_alpha is not None and settings.lora_path is None:
        raise InputError("needs --lora-path.", where="--lora-alpha", fix="Give the LoRA, or leave it out.")


def check_length(settings: Video2WorldSettings, request: Video2WorldRequest) -> None:
    """Every chunk of a long video goes on from the one before."""
    chunk_frames = request.num_frames or VARIANTS[settings.model_size].num_frames[settings.fps]
    if request.num_chunks > 1 and chunk_frames <= request.num_conditional_frames:
        raise InputError(
            f"chunks of {chunk_frames} frames that share {request.num_conditional_frames} never go on.",
            where="--num-chunks",
            fix=f"Pass --num-frames {request.num_conditional_frames + 1} or more, which is the length of a chunk.",
        )


def check_outputs(request: Video2WorldRequest) -> None:
    """The files to write are mp4 and its companions, can be written, and replace nothing unasked."""
    if request.save_path.is_dir():
        raise InputError(f"{request.save_path} is a folder.", where="--save-path", fix="Give the name of a file.")
    paths = output_paths(request)
    if paths["video"].suffix.lower() != ".mp4":
        raise InputError(
            f"{request.save_path} is not an mp4.", where="--save-path", fix="Give a name that ends in .mp4."
        )
    report_together(
        *(
            lambda path=path: check_writable(path, field="--save-path", overwrite=request.overwrite)
            for path in paths.values()
        )
    )


def check_checkpoints(settings: Video2WorldSettings) -> None:
    """All files of the model are there.

    Raises:
        CheckpointError: which are not, how large they are, and how to get them.
    """
    for field, path in (("--dit-path", settings.dit_path), ("--lora-path", settings.lora_path)):
        if path and not path.exists():
            raise CheckpointError(f"{path} does not exist.", where=field, fix="Check the path.")
    if settings.model_size == "tiny":
        return
    needed = repositories(
        settings.model_size,
        resolution_of(settings),
        settings.fps,
        natten=settings.natten,
        own_dit=settings.dit_path is not None,
    )
    refiner = _needed_refiner(settings)
    try:
        guardrails = () if settings.disable_guardrail else GUARDRAILS
        require([*needed, *refiner, *guardrails], settings.checkpoint_dir)
    except CheckpointError as error:
        ways_out = [Problem("Or try the model that ships with cosmos: --model tiny.")]
        if refiner:
            ways_out.append(Problem("To do without Cosmos-Reason1: --disable-prompt-refiner, or --refiner-url."))
        raise CheckpointError.from_problems([*error.problems, *ways_out]) from None


def _needed_refiner(settings: Video2WorldSettings) -> list[Repository]:
    """The published prompt refiner, if it is used and missing."""
    asks_others = settings.refiner_url is not None or registry.current().extensions.get("prompt_refiners")
    is_there = (settings.checkpoint_dir / REASON1.name / "config.json").is_file()
    return [] if settings.disable_prompt_refiner or asks_others or is_there else [REASON1]


def read_conditioning_frames(request: Video2WorldRequest) -> np.ndarray:
    """The last 1 or 5 frames of the input, in its own size.

    Returns:
        (1 or 5, H, W, 3) uint8.
    Raises:
        InputError: the input is missing, unreadable, a picture where 5 frames are needed, or too short.
    """
    path, count = request.input_path, request.num_conditional_frames
    if not path.exists():
        raise InputError(f"{path} does not exist.", where="--input-path", fix="Give a picture or a video.")
    if not path.is_file():
        raise InputError(f"{path} is not a file.", where="--input-path", fix="Give a picture or a video.")

    from cosmos_cli.media.image import is_image, read_image
    from cosmos_cli.media.video import read_last_frames

    if is_image(path):
        if count > 1:
            raise InputError(
                f"{path} is a still picture, but --num-conditional-frames {count} needs a video.",
                where="--input-path",
                fix="Give a video, or pass --num-conditional-frames 1.",
            )
        return read_image(path)[None]
    clip = read_last_frames(path, count)
    if len(clip.frames_FHWC) < count:
        raise InputError(
            f"{path} has {clip.num_source_frames} frames, but --num-conditional-frames {count} needs at least {count}.",
            where="--input-path",
            fix="Give a longer clip, or pass --num-conditional-frames 1.",
        )
    return clip.frames_FHWC
