"""Everything about a request that can be known before a model loads: checked, and the input frames read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli.checkpoints.catalogue import require
from cosmos_cli.errors import CheckpointError, InputError, report_together
from cosmos_cli.runtime.files import check_writable
from cosmos_plugins.predict2.checkpoints import TINY_ROOT, dit_file, repositories
from cosmos_plugins.predict2.requests import Video2WorldRequest, Video2WorldSettings
from cosmos_plugins.predict2.variants import VARIANTS

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours


@dataclass(frozen=True)
class Paths:
    """Where a run reads its weights."""

    dit: Path
    tokenizer: Path
    text_encoder: Path


@dataclass(frozen=True)
class Sample:
    """One video to make, its input read and brought to size.

    frames_FHWC: the conditioning frames, (1 or 5, height, width, 3) uint8.
    """

    request: Video2WorldRequest
    frames_FHWC: np.ndarray
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
        lambda: check_outputs(request),
        lambda: frames.append(read_conditioning_frames(request)),
    )
    check_checkpoints(settings)

    from cosmos_cli.media.resize import cover_and_crop

    variant = VARIANTS[settings.model_size]
    height, width = variant.sizes[resolution_of(settings)][request.aspect_ratio]
    return Sample(
        request,
        cover_and_crop(frames[0], height, width),
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
    )


def _dit_file(settings: Video2WorldSettings) -> str:
    # the tiny model has one set of weights, whatever size of picture it is asked for
    resolution = "tiny" if settings.model_size == "tiny" else resolution_of(settings)
    return dit_file(resolution, settings.fps, settings.natten)


def check_settings(settings: Video2WorldSettings) -> None:
    """Combinations that no single field can judge."""
    if settings.num_gpus > 1:
        raise InputError(
            f"asks for {settings.num_gpus} GPUs, but this version runs on one.",
            where="--num-gpus",
            fix="Leave it out, or pass --num-gpus 1.",
        )
    if settings.natten and (settings.model_size == "tiny" or resolution_of(settings) != "720"):
        raise InputError(
            f"has no checkpoint for {settings.model_size} at {resolution_of(settings)}.",
            where="--natten",
            fix="Use --model-size 2B or 14B with --resolution 720, or leave it out.",
        )
    if settings.load_ema and not settings.dit_path:
        raise InputError(
            "needs --dit-path: the published files hold no averaged weights.", where="--load-ema", fix="Leave it out."
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
    if settings.dit_path and not settings.dit_path.exists():
        raise CheckpointError(f"{settings.dit_path} does not exist.", where="--dit-path", fix="Check the path.")
    if settings.model_size == "tiny":
        return
    needed = repositories(
        settings.model_size,
        resolution_of(settings),
        settings.fps,
        natten=settings.natten,
        own_dit=settings.dit_path is not None,
    )
    try:
        require(needed, settings.checkpoint_dir)
    except CheckpointError as error:
        *others, last = error.problems
        hint = "Or try the model that ships with cosmos: --model tiny."
        closing = type(last)(last.what, last.where, f"{last.fix}\n{hint}")
        raise CheckpointError.from_problems([*others, closing]) from None


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
