"""Everything about a picture that can be known before a model loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cosmos_cli.errors import InputError, report_together
from cosmos_plugins.predict2 import checks
from cosmos_plugins.predict2.checkpoints import text2image_file, text2image_repositories
from cosmos_plugins.predict2.checks import Weights, check_outputs, check_weights, weights_of
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.variants import TEXT2IMAGE

JPEG_SUFFIXES = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Sample:
    """One picture to make, height and width in pixels."""

    request: Text2ImageRequest
    height: int
    width: int


def prepare(settings: Text2ImageSettings, request: Text2ImageRequest) -> Sample:
    """Check one request as far as that goes without a model.

    Raises:
        InputError: all that is wrong with the settings and the output.
        CheckpointError: weights are missing.
    """
    report_together(
        lambda: check_settings(settings), lambda: check_sharing(settings, request), lambda: check_files(request)
    )
    check_checkpoints(settings)
    height, width = TEXT2IMAGE[settings.model_size].sizes[request.aspect_ratio]
    return Sample(request, height, width)


def output_paths(request: Text2ImageRequest) -> dict[str, Path]:
    """The files of one picture: "image" and "sidecar"."""
    image = request.save_path if request.save_path.suffix else request.save_path.with_suffix(".jpg")
    return {"image": image, "sidecar": image.with_suffix(".json")}


def weight_paths(settings: Text2ImageSettings) -> Weights:
    """Where the weights of these settings lie, whether or not they are there."""
    dit_file = text2image_file(settings.model_size, distilled=settings.distill_steps > 0)
    return weights_of(settings, TEXT2IMAGE[settings.model_size], dit_file)


def check_settings(settings: Text2ImageSettings) -> None:
    """Combinations that no single field can judge, and what is not supported."""
    checks.check_settings(settings)
    if settings.use_fast_tokenizer:
        raise InputError(
            "the fast tokenizer is published only as a TorchScript program, and cosmos runs no program that comes "
            "with weights.",
            where="--use-fast-tokenizer",
            fix="Leave it out: the same model size makes pictures with the ordinary tokenizer.",
        )


def check_sharing(settings: Text2ImageSettings, request: Text2ImageRequest) -> None:
    """The GPUs can share the picture; the distilled model has no guidance to share."""
    num_heads = TEXT2IMAGE[settings.model_size].dit.num_heads
    checks.check_sharing(settings, num_heads, guided=bool(request.guidance) and not settings.distill_steps)


def check_files(request: Text2ImageRequest) -> None:
    """The files to write are JPEG or PNG and a sidecar, and replace nothing unasked."""
    suffixes = (*JPEG_SUFFIXES, ".png")
    check_outputs(request.save_path, lambda: output_paths(request), suffixes=suffixes, overwrite=request.overwrite)


def check_checkpoints(settings: Text2ImageSettings) -> None:
    """All files of the model are there. Raises CheckpointError that says how to get those that are not."""
    if settings.model_size == "tiny":
        check_weights(settings, ())
        return
    needed = text2image_repositories(
        settings.model_size, distilled=settings.distill_steps > 0, own_dit=settings.dit_path is not None
    )
    check_weights(settings, needed)
