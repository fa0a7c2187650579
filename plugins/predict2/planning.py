"""What `cosmos predict2 video2world` will do and cost, without loading anything."""

from __future__ import annotations

import dataclasses
import math

from cosmos_cli import registry
from cosmos_cli.errors import InputError, report_together
from cosmos_cli.generation.plan import Frames, Plan
from cosmos_cli.models.costs import cost_of, tokenizer_cost_of
from cosmos_cli.runtime.machine import Machine
from cosmos_plugins.predict2.checkpoints import repositories
from cosmos_plugins.predict2.estimates import LATENT_FRAMES, Work, estimate_work, files_of
from cosmos_plugins.predict2.requests import Video2WorldRequest, Video2WorldSettings
from cosmos_plugins.predict2.variants import SPARSE_PATTERNS, VARIANTS
from cosmos_plugins.predict2.video2world.inputs import (
    check_length,
    check_outputs,
    check_settings,
    output_paths,
    resolution_of,
    weight_paths,
)
from cosmos_plugins.predict2.video2world.long_video import num_frames_of


def plan(settings: Video2WorldSettings, request: Video2WorldRequest) -> Plan:
    """Check a request as far as that goes without its frames, and say what it will cost.

    Missing weights are part of the plan, no error.

    Raises:
        InputError: all that is wrong with the settings, the input and the output.
    """
    report_together(
        lambda: check_settings(settings),
        lambda: check_length(settings, request),
        lambda: check_outputs(request),
        lambda: _given_frames(request),
    )
    return estimate(settings, request)


def estimate(
    settings: Video2WorldSettings,
    request: Video2WorldRequest,
    *,
    num_given: int | None = None,
    machine: Machine | None = None,
    is_first: bool = True,
) -> Plan:
    """What a request that was checked will cost.

    Args:
        num_given: frames of the input; None looks at it, which must be there then.
        machine, is_first: as for `estimate_work`.
    Raises:
        InputError: there is no such device, or no input.
    """
    variant, weights = VARIANTS[settings.model_size], weight_paths(settings)
    height, width = variant.sizes[resolution_of(settings)][request.aspect_ratio]
    chunk_frames = request.num_frames or variant.num_frames[settings.fps]
    given_latents = 1 + (request.num_conditional_frames - 1) // LATENT_FRAMES
    num_latents = max(given_latents, math.ceil((chunk_frames - 1) / LATENT_FRAMES) + 1)
    computed = 1 + (num_latents - 1) * LATENT_FRAMES
    dit = cost_of(variant.dit)
    work = Work(
        clip_px=(computed, height, width),
        num_passes=(request.num_steps + 1) * (2 if request.guidance else 1),
        num_given=request.num_conditional_frames,
        num_texts=1 + bool(request.negative_prompt),
        num_contexts=2 if request.guidance else 1,
        num_rounds=request.num_chunks,
    )
    grid = dit.grid(work.latents)
    return estimate_work(
        settings,
        weights,
        dit,
        tokenizer_cost_of(variant.vae),
        dataclasses.replace(work, keys_per_query=_keys_per_query(settings, grid)),
        model=f"predict2 video2world {settings.model_size}{' sparse' if settings.natten else ''}",
        request={
            "input_path": str(request.input_path),
            "num_steps": request.num_steps,
            "guidance": request.guidance,
            "seed": request.seed,
            "num_conditional_frames": request.num_conditional_frames,
        },
        files=files_of(
            settings,
            weights,
            (settings.dit_path, settings.lora_path),
            lambda: repositories(
                settings.model_size,
                resolution_of(settings),
                settings.fps,
                natten=settings.natten,
                own_dit=settings.dit_path is not None,
            ),
        ),
        frames=Frames(
            given=_given_frames(request) if num_given is None else num_given,
            made=num_frames_of(request.num_chunks, chunk_frames, request.num_conditional_frames),
            computed=request.num_chunks * computed,
            chunks=request.num_chunks,
            height=height,
            width=width,
            fps=settings.fps,
        ),
        output=output_paths(request)["video"],
        machine=machine,
        is_first=is_first,
        notices=_refiners(settings),
    )


def _given_frames(request: Video2WorldRequest) -> int:
    """Frames of the input, as its container counts them."""
    path = request.input_path
    if not path.is_file():
        raise InputError(f"{path} does not exist.", where="--input-path", fix="Give a picture or a video.")
    from cosmos_cli.media.facts import read_facts

    num_frames = read_facts(path).num_frames
    if num_frames < request.num_conditional_frames:
        raise InputError(
            f"{path} has {num_frames} frames, but --num-conditional-frames {request.num_conditional_frames} needs "
            f"at least {request.num_conditional_frames}.",
            where="--input-path",
            fix="Give a longer clip, or pass --num-conditional-frames 1.",
        )
    return num_frames


def _keys_per_query(settings: Video2WorldSettings, grid_THW: tuple[int, int, int]) -> list[float]:
    """Keys that a token attends to in each block of a sparse checkpoint; nothing where all blocks are dense."""
    if not settings.natten or grid_THW[0] == 1:
        return []
    dense = float(math.prod(grid_THW))
    return [
        dense if letter == "-" else float(math.prod(SPARSE_PATTERNS[letter].on_grid(grid_THW).window))
        for letter in VARIANTS[settings.model_size].sparse_layers
    ]


def _refiners(settings: Video2WorldSettings) -> list[str]:
    names = registry.current().extensions.get("prompt_refiners")
    return [", ".join(names)] if names and not settings.disable_prompt_refiner else []
