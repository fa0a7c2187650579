"""Everything about a picture that can be known before a model loads: checked, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cosmos_cli.checkpoints.catalogue import Repository
from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.generation.checks import check_outputs, check_sharing
from cosmos_cli.generation.foresight import Job
from cosmos_cli.generation.settings import negative_prompt_of
from cosmos_cli.generation.work import Frames, Work
from cosmos_plugins.predict2 import inputs
from cosmos_plugins.predict2.checkpoints import DISTILLED, text2image_file, text2image_repositories, weights_of
from cosmos_plugins.predict2.inputs import check_weights, job, networks_of
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.variants import TEXT2IMAGE

PIPELINE = "cosmos_plugins.predict2.text2image.pipeline:Text2ImagePipeline"
JPEG_SUFFIXES = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Sample:
    """One picture to make, height and width in pixels."""

    request: Text2ImageRequest
    height: int
    width: int
    outputs: Mapping[str, Path]
    weights: Mapping[str, Path]


def check(
    settings: Text2ImageSettings, request: Text2ImageRequest, *, writes: bool = True, needs_weights: bool = True
) -> Callable[[], Sample]:
    """See `cosmos_cli.generation.pipeline.Inputs`."""
    num_heads = TEXT2IMAGE[settings.model_size].dit.num_heads
    report_together(
        lambda: check_settings(settings),
        lambda: check_sharing(settings, num_heads, guided=is_guided(settings, request)),
        lambda: check_files(request) if writes else None,
    )
    if needs_weights:
        check_checkpoints(settings)
    return lambda: read(settings, request)


def read(settings: Text2ImageSettings, request: Text2ImageRequest) -> Sample:
    height, width = TEXT2IMAGE[settings.model_size].sizes[request.aspect_ratio]
    return Sample(request, height, width, output_paths(request), weight_paths(settings))


def prompts_of(settings: Text2ImageSettings, request: Text2ImageRequest) -> list[str]:
    return [request.prompt]


def is_guided(settings: Text2ImageSettings, request: Text2ImageRequest) -> bool:
    """Whether the network runs twice a step; the distilled one has no guidance to share."""
    return bool(request.guidance) and not settings.distill_steps


def output_paths(request: Text2ImageRequest) -> dict[str, Path]:
    """The files of one picture: "image" and "sidecar"."""
    image = request.save_path if request.save_path.suffix else request.save_path.with_suffix(".jpg")
    return {"image": image, "sidecar": image.with_suffix(".json")}


def weight_paths(settings: Text2ImageSettings) -> dict[str, Path]:
    """Where the weights of these settings lie, whether or not they are there."""
    dit_file = text2image_file(settings.model_size, distilled=settings.distill_steps > 0)
    return weights_of(settings, TEXT2IMAGE[settings.model_size], dit_file)


def check_settings(settings: Text2ImageSettings) -> None:
    """Combinations that no single field can judge, and what is not supported."""
    inputs.check_settings(settings)
    if settings.use_fast_tokenizer:
        raise InputError(
            "the fast tokenizer is published only as a TorchScript program, and cosmos runs no program that comes "
            "with weights.",
            where="--use-fast-tokenizer",
            fix="Leave it out: the same model size makes pictures with the ordinary tokenizer.",
        )


def check_files(request: Text2ImageRequest) -> None:
    """The files to write are JPEG or PNG and a sidecar, and replace nothing unasked."""
    suffixes = (*JPEG_SUFFIXES, ".png")
    check_outputs(request.save_path, lambda: output_paths(request), suffixes=suffixes, overwrite=request.overwrite)


def check_checkpoints(settings: Text2ImageSettings) -> None:
    """All files of the model are there. Raises CheckpointError that says how to get those that are not."""
    check_weights(settings, lambda: published(settings), missing=unpublished(settings))


def unpublished(settings: Text2ImageSettings) -> list[Problem]:
    """What is missing, and cannot be downloaded: distilled weights of sizes other than those that NVIDIA distilled."""
    if not _needs_distilled(settings) or settings.model_size in DISTILLED:
        return []
    path = weight_paths(settings)["dit"]
    if path.is_file():
        return []
    what = f"there are no distilled weights of {settings.model_size}: published are those of {', '.join(DISTILLED)}."
    fix = "Leave out --distill-steps, use text2image with --model-size 0.6B, or give weights of your own as its DiT."
    return [Problem(what, str(path), fix)]


def _needs_distilled(settings: Text2ImageSettings) -> bool:
    return settings.distill_steps > 0 and settings.dit_path is None and not settings.is_tiny


def published(settings: Text2ImageSettings) -> list[Repository]:
    """What is published of the model and not brought by the user."""
    is_distilled = _needs_distilled(settings)
    own_dit = settings.dit_path is not None or (is_distilled and settings.model_size not in DISTILLED)
    return text2image_repositories(settings.model_size, distilled=is_distilled, own_dit=own_dit)


def work_of(settings: Text2ImageSettings, request: Text2ImageRequest | None = None) -> Work:
    """What a request asks of the networks; without one, the most that is usual."""
    variant = TEXT2IMAGE[settings.model_size]
    size = variant.sizes[request.aspect_ratio] if request else max(variant.sizes.values(), key=math.prod)
    guided = is_guided(settings, request) if request else not settings.distill_steps
    num_steps = request.num_steps if request else 35
    return Work(
        networks_of(variant, weight_paths(settings), variant.dit),
        clip_px=(1, *size),
        num_passes=settings.distill_steps or (num_steps + 1) * (1 + guided),
        num_texts=1 + bool(request is None or negative_prompt_of(settings, request)),
        num_contexts=1 + guided,
        is_guided=guided,
    )


def job_of(settings: Text2ImageSettings, request: Text2ImageRequest) -> Job:
    """What a request that was checked will cost."""
    work = work_of(settings, request)
    _, height, width = work.clip_px
    return job(
        settings,
        weight_paths(settings),
        work,
        Frames(given=0, made=1, computed=1, chunks=1, height=height, width=width, fps=0),
        kind=f"text2image {settings.model_size}{' distilled' if settings.distill_steps else ''}",
        request={
            "num_steps": settings.distill_steps or request.num_steps,
            "guidance": request.guidance,
            "seed": request.seed,
        },
        output=output_paths(request)["image"],
        needed=lambda: published(settings),
    )
