"""Everything about a request that can be known before a model loads: checked, read, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli import registry
from cosmos_cli.checkpoints.catalogue import Repository
from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.generation import checks, input_frames
from cosmos_cli.generation.checks import check_sharing
from cosmos_cli.generation.files import needed_files
from cosmos_cli.generation.foresight import Job
from cosmos_cli.generation.identity import describe_work, work_key
from cosmos_cli.generation.settings import as_made, guidance_of, negative_prompt_of
from cosmos_cli.generation.work import Frames, Work
from cosmos_cli.settings import MACHINE_ONLY
from cosmos_plugins.predict2.checkpoints import REASON1, dit_file, gr00t_repositories, repositories, weights_of
from cosmos_plugins.predict2.inputs import check_files, job, networks_of, output_paths
from cosmos_plugins.predict2.variants import GR00T_DREAMS, SPARSE_PATTERNS, VARIANTS
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours

PIPELINE = "cosmos_plugins.predict2.video2world.pipeline:Video2WorldPipeline"

_INPUT, _COUNT = "--input-path", "--num-conditional-frames"


@dataclass(frozen=True)
class Sample:
    """One video to make, its input read and brought to size.

    frames_FHWC: the conditioning frames, (1 or 5, height, width, 3) uint8.
    source_FHWC: the same in the input's own size, uncropped, for the prompt refiner.
    first_given: number of the first of them in the input.
    """

    request: Video2WorldRequest
    frames_FHWC: np.ndarray
    source_FHWC: np.ndarray
    num_frames: int
    outputs: Mapping[str, Path]
    weights: Mapping[str, Path]
    first_given: int = 0


def check(
    settings: Video2WorldSettings, request: Video2WorldRequest, *, writes: bool = True, needs_weights: bool = True
) -> Callable[[], Sample]:
    """See `cosmos_cli.generation.pipeline.Inputs`. A plan looks at the input without decoding it."""
    num_heads = VARIANTS[settings.model_size].dit.num_heads
    given: list[tuple[np.ndarray, int]] = []
    report_together(
        lambda: check_settings(settings),
        lambda: check_sharing(settings, num_heads, guided=bool(guidance_of(settings, request))),
        lambda: check_length(settings, request),
        lambda: check_files(request) if writes else None,
        lambda: given.append(read_conditioning_frames(request)) if needs_weights else _check_given(request),
    )
    if needs_weights:
        check_checkpoints(settings)
    return lambda: with_frames(settings, request, *given[0])


def read(settings: Video2WorldSettings, request: Video2WorldRequest) -> Sample:
    """The input of a request that was checked. Raises InputError if it can no longer be read."""
    return with_frames(settings, request, *read_conditioning_frames(request))


def prompts_of(settings: Video2WorldSettings, request: Video2WorldRequest) -> list[str]:
    prompt = full_prompt(settings, request)
    return [prompt] if prompt else []


def full_prompt(settings: Video2WorldSettings, request: Video2WorldRequest) -> str:
    """The prompt with what stands before every one."""
    return f"{settings.prompt_prefix_used}{request.prompt}"


def with_frames(
    settings: Video2WorldSettings, request: Video2WorldRequest, frames_FHWC: np.ndarray, first: int = 0
) -> Sample:
    """A sample that begins with these frames, (F, H, W, 3) uint8 of any size, wherever the request has its input."""
    from cosmos_cli.media.resize import cover_and_crop

    height, width = VARIANTS[settings.model_size].sizes[settings.resolution_used][request.aspect_ratio]
    return Sample(
        request,
        cover_and_crop(frames_FHWC, height, width),
        frames_FHWC,
        chunk_frames(settings, request),
        output_paths(request),
        weight_paths(settings),
        first,
    )


def chunk_frames(settings: Video2WorldSettings, request: Video2WorldRequest) -> int:
    """Length of a chunk in frames."""
    return request.num_frames or VARIANTS[settings.model_size].num_frames[settings.fps]


def weight_paths(settings: Video2WorldSettings) -> dict[str, Path]:
    """Where the weights of these settings lie, whether or not they are there."""
    variant = VARIANTS[settings.model_size]
    # the tiny model has one set of weights, whatever size of picture it is asked for
    resolution = "tiny" if settings.is_tiny else settings.resolution_used
    published = f"{variant.folder}/{dit_file(resolution, settings.fps, settings.natten)}"
    if settings.gr00t_variant is not None:
        published = GR00T_DREAMS[settings.gr00t_variant]
    weights = weights_of(settings, variant, published)
    return weights | ({"lora": settings.lora_path} if settings.lora_path else {})


_WITHOUT_EFFECT = MACHINE_ONLY | {
    *("overwrite", "preview", "benchmark", "use_cuda_graphs", "save_path"),
    *Video2WorldSettings.offload_options,
}
"""Fields that do not change what a video shows."""


def key_of(settings: Video2WorldSettings, request: Video2WorldRequest) -> str:
    """What decides what the video of a request shows, see `cosmos_cli.generation.identity.work_key`."""
    weights = weight_paths(settings)
    document = describe_work(as_made(settings, weights["text_encoder"]), request, without=_WITHOUT_EFFECT)
    return work_key(document, [request.input_path], weights)


def check_settings(settings: Video2WorldSettings) -> None:
    """Combinations that no single field can judge."""
    checks.check_parallel(settings)
    if settings.gr00t_variant is not None:
        _check_gr00t(settings)
    if settings.natten and (settings.is_tiny or settings.resolution_used != "720"):
        raise InputError(
            f"has no checkpoint for {settings.model_size} at {settings.resolution_used}.",
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
    checks.check_lora(settings.lora_path, settings.lora_alpha)


def _check_gr00t(settings: Video2WorldSettings) -> None:
    """There is one such checkpoint for each robot."""
    wanted = {"--model-size 14B": settings.model_size == "14B", "--resolution 480": settings.resolution_used == "480"}
    wanted |= {"--fps 16": settings.fps == 16}
    if lacking := [option for option, is_given in wanted.items() if not is_given]:
        raise InputError("is of 14B at 480 and 16 fps.", where="--gr00t-variant", fix=f"Pass {' and '.join(lacking)}.")
    if settings.refiner_url is not None:
        raise InputError(
            "was trained on plain prompts, which are not refined.",
            where="--gr00t-variant",
            fix="Leave out --refiner-url.",
        )


def check_length(settings: Video2WorldSettings, request: Video2WorldRequest) -> None:
    """Every chunk of a long video goes on from the one before."""
    num_frames = chunk_frames(settings, request)
    if request.num_chunks > 1 and num_frames <= request.num_conditional_frames:
        raise InputError(
            f"chunks of {num_frames} frames that share {request.num_conditional_frames} never go on.",
            where="--num-chunks",
            fix=f"Pass --num-frames {request.num_conditional_frames + 1} or more, which is the length of a chunk.",
        )


def check_checkpoints(
    settings: Video2WorldSettings, *, also: Callable[[], Iterable[Repository]] = tuple, missing: Iterable[Problem] = ()
) -> None:
    """All files of the model are there.

    Args:
        also: tells what else is published that must be; not asked for the tiny model.
        missing: what else is known not to be there.
    Raises:
        CheckpointError: which are not, how large they are, and how to get them.
    """
    refiner = _needed_refiner(settings)
    way_out = Problem("To do without Cosmos-Reason1: --disable-prompt-refiner, or --refiner-url.")
    checks.check_weights(
        settings,
        lambda: [*also(), *_repositories(settings), *refiner],
        missing=missing,
        own={"--dit-path": settings.dit_path, "--lora-path": settings.lora_path},
        ways_out=[way_out] if refiner else [],
    )


def _repositories(settings: Video2WorldSettings) -> list[Repository]:
    if settings.gr00t_variant is not None:
        return gr00t_repositories(settings.gr00t_variant, own_dit=settings.dit_path is not None)
    return repositories(
        settings.model_size,
        settings.resolution_used,
        settings.fps,
        natten=settings.natten,
        own_dit=settings.dit_path is not None,
    )


def refines_itself(settings: Video2WorldSettings) -> bool:
    """Whether Cosmos-Reason1 refines prompts in this process: unless a server or another package does."""
    return not settings.is_tiny and _asks_nobody_else(settings)


def refines_by_rule(settings: Video2WorldSettings) -> bool:
    """Whether it is the rule of the tiny model in its place."""
    return settings.is_tiny and _asks_nobody_else(settings)


def _asks_nobody_else(settings: Video2WorldSettings) -> bool:
    asks_others = settings.refiner_url is not None or registry.current().extensions.get("prompt_refiners")
    return settings.may_refine and not asks_others


def _needed_refiner(settings: Video2WorldSettings) -> list[Repository]:
    """The published prompt refiner, if it is used and missing."""
    is_there = (settings.checkpoint_dir / REASON1.name / "config.json").is_file()
    return [REASON1] if refines_itself(settings) and not is_there else []


def read_conditioning_frames(request: Video2WorldRequest) -> tuple[np.ndarray, int]:
    """The last 1 or 5 frames of the input, in its own size, and the number of the first of them in it.

    Returns:
        (1 or 5, H, W, 3) uint8, and a number from 0.
    Raises:
        InputError: the input is missing, unreadable, a picture where 5 frames are needed, or too short.
    """
    frames_FHWC, first = input_frames.read_given(
        request.input_path, request.num_conditional_frames, where=_INPUT, option=_COUNT
    )
    assert frames_FHWC is not None
    return frames_FHWC, first


def _check_given(request: Video2WorldRequest) -> int:
    """Frames of the input, as its container counts them. Raises InputError: there is none, or too few of them."""
    return input_frames.check_given(request.input_path, request.num_conditional_frames, where=_INPUT, option=_COUNT)


def work_of(settings: Video2WorldSettings, request: Video2WorldRequest | None = None) -> Work:
    """What a request asks of the networks; without one, the most that is usual."""
    variant, weights = VARIANTS[settings.model_size], weight_paths(settings)
    sizes = variant.sizes[settings.resolution_used]
    num_frames, num_given, guidance, num_steps = variant.num_frames[settings.fps], 5, 1.0, 35
    height, width = max(sizes.values(), key=math.prod)
    if request is not None:
        height, width = sizes[request.aspect_ratio]
        num_frames, num_given = chunk_frames(settings, request), request.num_conditional_frames
        guidance, num_steps = guidance_of(settings, request), request.num_steps
    networks = networks_of(variant, weights, variant.dit, refiner_bytes=_refiner_bytes(settings))
    tokenizer = networks.tokenizer
    num_latents = max(tokenizer.latent_frames(num_given), 1 - (1 - num_frames) // tokenizer.temporal_factor)
    computed = 1 + (num_latents - 1) * tokenizer.temporal_factor
    factor = tokenizer.spatial_factor
    return Work(
        networks,
        clip_px=(computed, height, width),
        num_passes=(num_steps + 1) * (2 if guidance else 1),
        num_rounds=request.num_chunks if request else 1,
        encoded=((1, num_given),),
        num_texts=1 + bool(request is None or negative_prompt_of(settings, request)),
        num_contexts=2 if guidance else 1,
        keys_per_query=_keys_per_query(settings, networks.dit.grid((num_latents, height // factor, width // factor))),
        is_guided=bool(guidance),
        encode_stage="encode_frames",
    )


def job_of(settings: Video2WorldSettings, request: Video2WorldRequest, *, num_given: int | None = None) -> Job:
    """What a request that was checked will cost.

    Args:
        num_given: frames of the input; None looks at it, which must be there then.
    Raises:
        InputError: there is no input.
    """
    work = work_of(settings, request)
    computed, height, width = work.clip_px
    frames = Frames(
        given=_check_given(request) if num_given is None else num_given,
        made=num_frames_of(request.num_chunks, chunk_frames(settings, request), request.num_conditional_frames),
        computed=request.num_chunks * computed,
        chunks=request.num_chunks,
        height=height,
        width=width,
        fps=settings.fps,
    )
    told = ("num_steps", "seed", "num_conditional_frames")
    refiners = registry.current().extensions.get("prompt_refiners")
    return job(
        settings,
        weight_paths(settings),
        work,
        frames,
        kind=f"video2world {settings.model_size}{_flavour(settings)}",
        request={
            "input_path": str(request.input_path),
            "guidance": guidance_of(settings, request),
            **{name: getattr(request, name) for name in told},
        },
        output=output_paths(request)["video"],
        needed=lambda: [*_repositories(settings), *([REASON1] if refines_itself(settings) else [])],
        notices=[", ".join(refiners)] if refiners and settings.may_refine else [],
    )


def _flavour(settings: Video2WorldSettings) -> str:
    if settings.gr00t_variant is not None:
        return f" {settings.gr00t_variant}"
    return " sparse" if settings.natten else ""


def num_frames_of(num_chunks: int, chunk_frames: int, num_shared: int) -> int:
    """Length of a video of so many chunks; neighbours share frames, which are shown once."""
    return chunk_frames + (num_chunks - 1) * (chunk_frames - num_shared)


def _refiner_bytes(settings: Video2WorldSettings) -> int:
    if not refines_itself(settings):
        return 0
    return sum(file.num_bytes for file in needed_files([REASON1], settings.checkpoint_dir))


def _keys_per_query(settings: Video2WorldSettings, grid_THW: tuple[int, int, int]) -> tuple[float, ...]:
    """Keys that a token attends to in each block of a sparse checkpoint; nothing where all blocks are dense."""
    if not settings.natten or grid_THW[0] == 1:
        return ()
    dense = float(math.prod(grid_THW))
    return tuple(
        dense if letter == "-" else float(math.prod(SPARSE_PATTERNS[letter].on_grid(grid_THW).window))
        for letter in VARIANTS[settings.model_size].sparse_layers
    )
