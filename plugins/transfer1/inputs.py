"""Everything about a request that can be known before a model loads: checked, and the input and control videos read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cosmos_cli.errors import report_together
from cosmos_cli.generation.checks import check_all_writable, check_sharing
from cosmos_cli.generation.foresight import Job
from cosmos_cli.generation.identity import describe_work, work_key
from cosmos_cli.generation.settings import as_made, guidance_of, negative_prompt_of
from cosmos_cli.generation.work import Frames, Networks, Work
from cosmos_cli.media.source import Source
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_cli.settings import MACHINE_ONLY
from cosmos_plugins.transfer1.checkpoints import weight_paths
from cosmos_plugins.transfer1.checks import check_clips, check_request
from cosmos_plugins.transfer1.chunks import chunk_length, plan_chunks, shortest_of, spill_of
from cosmos_plugins.transfer1.needs import check_checkpoints, files_needed, needed_annotators, upsampler_bytes
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.samples import Sample, output_paths
from cosmos_plugins.transfer1.variants import NUM_STATES, UPSCALE_FACTOR, VARIANTS, Variant

PIPELINE = "cosmos_plugins.transfer1.pipeline:TransferPipeline"


def check(
    settings: TransferSettings, request: TransferRequest, *, writes: bool = True, needs_weights: bool = True
) -> Callable[[], Sample]:
    """See `cosmos_cli.generation.pipeline.Inputs`; videos are read, and controls computed, by what it returns."""
    num_heads = VARIANTS[settings.model_size].dit.num_heads
    report_together(
        lambda: check_request(settings, request),
        lambda: check_outputs(request) if writes else None,
        lambda: check_clips(request),
        lambda: check_sharing(settings, num_heads, guided=guidance_used(settings, request) > 0),
    )
    if needs_weights:
        check_checkpoints(settings, request)
    return lambda: read(settings, request)


def guidance_used(settings: TransferSettings, request: TransferRequest) -> float:
    """Strength of classifier-free guidance; the distilled model knows none."""
    return 0.0 if settings.use_distilled else guidance_of(settings, request)


def read(settings: TransferSettings, request: TransferRequest) -> Sample:
    """The videos of a request that was checked, and the controls that it lacks."""
    from cosmos_plugins.transfer1.videos import read_sample

    return read_sample(settings, request)


def prompts_of(settings: TransferSettings, request: TransferRequest) -> list[str]:
    """All that a request wants to show; what it does not want may name anything."""
    return [request.prompt, *(region.prompt for region in request.regional_prompts)]


_WITHOUT_EFFECT = MACHINE_ONLY | {
    *("overwrite", "preview", "video_save_folder", "video_save_name"),
    *TransferSettings.offload_options,
}
"""Fields that do not change what a video shows."""


def key_of(settings: TransferSettings, request: TransferRequest) -> str:
    """What decides what the video of a request shows, see `cosmos_cli.generation.identity.work_key`."""
    weights = weight_paths(settings, request)
    document = describe_work(as_made(settings, weights.text_encoder), request, without=_WITHOUT_EFFECT)
    return work_key(document, _inputs(request), weights.named())


def _inputs(request: TransferRequest) -> list[Source]:
    """All files that the video depends on, weights apart."""
    files: list[Source | None] = [request.input_video_path]
    for control in request.active_controls.values():
        files += [control.input_control, control.control_weight if isinstance(control.control_weight, Path) else None]
    files += [
        region.region_definitions_path
        for region in request.regional_prompts
        if isinstance(region.region_definitions_path, Path)
    ]
    return [file for file in files if file is not None]


def check_outputs(request: TransferRequest) -> None:
    """The files to write can be written and replace nothing unasked."""
    check_all_writable(output_paths(request).values(), field="--video-save-folder", overwrite=request.overwrite)


def check_networks(settings: TransferSettings, request: TransferRequest) -> None:
    """See `cosmos_cli.generation.pipeline.Inputs`; where no control is computed, loading finds it as soon."""
    if any(control.input_control is None for control in request.active_controls.values()):
        from cosmos_plugins.transfer1.networks import check_files as check_weights

        check_weights(settings, weight_paths(settings, request))


def branch_files(works: Sequence[Work]) -> list[Path]:
    """The files of all control branches that these works need."""
    return list(dict.fromkeys(file for work in works for file in work.networks.branches))


def work_of(settings: TransferSettings, request: TransferRequest) -> Work:
    """What a request asks of the networks. Raises InputError: a video cannot be read."""
    return _measure(settings, request)[0]


def _measure(settings: TransferSettings, request: TransferRequest) -> tuple[Work, Frames, list[str]]:
    frames, tile, told = _frames(request, VARIANTS[settings.model_size])
    # the controls, and the input where it is the start
    num_encoded = len(request.active_controls) + (request.starts_from_video and not settings.use_distilled)
    return work_on(settings, request, frames, tile, num_encoded), frames, told


def work_on(
    settings: TransferSettings, request: TransferRequest, frames: Frames, tile: tuple[int, int], num_encoded: int
) -> Work:
    """What a request asks of the networks, once the length and the size of its video are known.

    Args:
        tile: height and width of the picture that the networks see.
        num_encoded: videos that are encoded chunk by chunk.
    """
    variant, paths = VARIANTS[settings.model_size], weight_paths(settings, request)
    chunk_frames = chunk_length(frames.made, variant.chunk_frames)
    kind = {"driving": settings.is_av_sample, "distilled": settings.use_distilled}
    branch = cost_of(variant.branch(**kind))
    networks = Networks(
        cost_of(variant.base(**kind)),
        tokenizer_cost_of(variant.tokenizer),
        dict.fromkeys(paths.controls.values(), branch),
        paths.text_encoder,
        upsampler_bytes(settings, list(request.active_controls)),
    )
    is_guided = guidance_used(settings, request) > 0
    num_regions, num_tiles = len(request.regional_prompts), _num_tiles(request)
    tile_px = tile[0] * tile[1]
    return Work(
        networks,
        clip_px=(chunk_frames, *tile),
        num_passes=1 if settings.use_distilled else (request.num_steps + 1) * (1 + is_guided),
        num_tiles=num_tiles,
        num_rounds=frames.chunks,
        encoded=((num_encoded, chunk_frames),),
        num_texts=1 + bool(negative_prompt_of(settings, request)) + num_regions,
        num_contexts=1 + is_guided + num_regions,
        num_regions=num_regions,
        num_states=NUM_STATES,
        is_guided=is_guided,
        read_px=(num_encoded + 1) * frames.made * tile_px,
        held_px=num_encoded * frames.made * tile_px * num_tiles,
    )


def job_of(settings: TransferSettings, request: TransferRequest) -> Job:
    """What a request that was checked will cost. Raises InputError: a video cannot be read."""
    work, frames, told = _measure(settings, request)
    kind = " driving" if settings.is_av_sample else " distilled" if settings.use_distilled else ""
    return Job(
        f"transfer run {settings.model_size}{kind}",
        {
            "input_video_path": str(request.input_video_path) if request.input_video_path else None,
            "controls": list(request.active_controls),
            "num_steps": 1 if settings.use_distilled else request.num_steps,
            "guidance": guidance_used(settings, request),
            "seed": request.seed,
        },
        work,
        frames,
        files_needed(settings, request),
        output_paths(request)["video"],
        notices=[f"the making of {repository.name}'s maps" for repository in needed_annotators(request)],
        told=told,
    )


def _num_tiles(request: TransferRequest) -> int:
    return UPSCALE_FACTOR**2 if request.is_upscaling else 1


def _frames(request: TransferRequest, variant: Variant) -> tuple[Frames, tuple[int, int], list[str]]:
    """Lengths and sizes of the output, the size of the picture that the networks see, and what to tell of them."""
    from cosmos_cli.media.facts import read_facts

    given = {"input": request.input_video_path}
    given |= {name: control.input_control for name, control in request.active_controls.items()}
    videos = {name: read_facts(path) for name, path in given.items() if path is not None}
    first = next(iter(videos.values()))
    made, cut = shortest_of({name: video.num_frames for name, video in videos.items()})
    ratios = {name: int(name.partition(":")[0]) / int(name.partition(":")[2]) for name in variant.sizes}
    nearest = min(ratios, key=lambda name: (ratios[name] - first.width / first.height) ** 2)
    height, width = variant.sizes[nearest]
    chunks = plan_chunks(made, request.num_input_frames, variant.chunk_frames)
    spill = spill_of(made, request.num_input_frames, variant.chunk_frames)
    factor = UPSCALE_FACTOR if request.is_upscaling else 1
    frames = Frames(first.num_frames, made, chunks[-1].stop, len(chunks), factor * height, factor * width, request.fps)
    return frames, (height, width), [line for line in (cut, spill) if line]
