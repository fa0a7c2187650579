"""What `cosmos predict2 video2world` will do and cost, without loading anything."""

from __future__ import annotations

import math
from pathlib import Path

from cosmos_cli import registry
from cosmos_cli.errors import InputError, report_together
from cosmos_cli.models.costs import DiTShape, T5Shape, WanVAEShape
from cosmos_cli.runtime.machine import find_machine
from cosmos_cli.runtime.planning import CPU_SCRATCH, Frames, NeededFile, Part, Plan, make_plan, needed_files, own_file
from cosmos_cli.runtime.rates import START_SECONDS, TEXT_START_SECONDS, Stage
from cosmos_plugins.predict2.checkpoints import repositories
from cosmos_plugins.predict2.inputs import check_outputs, check_settings, output_paths, resolution_of, weight_paths
from cosmos_plugins.predict2.requests import Video2WorldRequest, Video2WorldSettings
from cosmos_plugins.predict2.variants import SPARSE_GRID, SPARSE_PATTERNS, VARIANTS

_LATENT_PX, _LATENT_FRAMES = 8, 4
_STATES = 10
"""Tensors of the latents' shape in float32 that the sampler holds, those in float64 counted twice."""
_ENCODER_FRAMES = 60
"""Frames that x264 looks ahead."""


def plan(settings: Video2WorldSettings, request: Video2WorldRequest) -> Plan:
    """Check a request as far as that goes without its frames, and say what it will cost.

    Missing weights are part of the plan, no error.

    Raises:
        InputError: all that is wrong with the settings, the input and the output.
    """
    report_together(lambda: check_settings(settings), lambda: check_outputs(request), lambda: _given_frames(request))
    return estimate(settings, request)


def estimate(settings: Video2WorldSettings, request: Video2WorldRequest) -> Plan:
    """What a request that was checked will cost. Raises InputError: there is no such device, or no input."""
    variant, machine = VARIANTS[settings.model_size], find_machine(settings.device)
    precision = _precision(settings, machine.kind)
    num_bytes = 2 if precision == "bfloat16" else 4
    scratch = CPU_SCRATCH if machine.kind == "cpu" else 1.0
    frames = _frames(settings, request)
    latents = (1 + (frames.computed - 1) // _LATENT_FRAMES, frames.height // _LATENT_PX, frames.width // _LATENT_PX)

    dit, vae, t5 = (
        DiTShape.of(variant.dit),
        WanVAEShape(**variant.vae),
        T5Shape.in_folder(weight_paths(settings).text_encoder),
    )
    grid = dit.grid(latents)
    num_passes = (request.num_steps + 1) * (2 if request.guidance else 1)
    num_texts = 1 + bool(request.negative_prompt)
    num_contexts = 2 if request.guidance else 1
    per_pass = dit.pass_flops(grid, modulations=latents[0], keys_per_query=_keys_per_query(settings, grid))
    encoded = vae.encode(request.num_conditional_frames, frames.height, frames.width)
    decoded = vae.decode(*latents)

    files = _files(settings)
    paths = weight_paths(settings)
    of_text = [paths.text_encoder in (file.path, *file.path.parents) for file in files]
    text_bytes = sum(file.num_bytes for file, is_text in zip(files, of_text, strict=True) if is_text)
    model_bytes = [file.num_bytes for file, is_text in zip(files, of_text, strict=True) if not is_text]
    pixels = frames.height * frames.width
    stages = [
        Stage("start", {"loading": sum(model_bytes)}, fixed_s=START_SECONDS),
        Stage(
            "encode_text", {"loading": text_bytes, "attention": num_texts * t5.flops()}, num_texts, TEXT_START_SECONDS
        ),
        Stage("encode_frames", {"convolution": encoded.flops}, num_passes=1),
        Stage("denoise", {"attention": num_passes * per_pass + num_contexts * dit.text_flops()}, num_passes=num_passes),
        Stage("decode", {"convolution": decoded.flops, "frames": frames.computed * pixels}, num_passes=latents[0]),
        Stage("write", {"frames": frames.made * pixels}),
    ]
    after_text = tuple(stage.name for stage in stages[1:])
    t5_bytes = t5.parameters * (2 if settings.downcast_text_encoder else 4)
    is_offloaded = settings.offload_text_encoder and machine.kind == "cuda"
    on_device = ("encode_text",) if is_offloaded else after_text
    latent_numbers = dit.in_channels * math.prod(latents)
    video_bytes = 3 * frames.computed * pixels
    parts = [
        Part("DiT", dit.parameters * num_bytes),
        Part("tokenizer", vae.parameters * num_bytes),
        Part("text encoder", t5_bytes, stages=on_device),
        Part("text activations", scratch * t5.live_elements() * t5_bytes / t5.parameters, stages=("encode_text",)),
        Part("texts", num_contexts * dit.text_elements() * num_bytes, stages=("denoise",)),
        Part("activations", scratch * dit.live_elements(grid, num_bytes) * num_bytes, stages=("denoise",)),
        Part("latents", _STATES * 4 * latent_numbers, stages=("denoise",)),
        Part("encoding", scratch * encoded.elements * num_bytes, stages=("encode_frames",)),
        Part("decoding", scratch * decoded.elements * num_bytes, stages=("decode",)),
        # the pieces, and the video that they are joined to
        Part("frames", 2 * video_bytes, "host", ("decode",)),
        Part("frames", video_bytes, "host", ("write",)),
        Part("video encoder", _ENCODER_FRAMES * 1.5 * pixels, "host", ("write",)),
        Part("weight files being read", max(model_bytes), "host", ("start",), can_go=True),
        Part("weight files being read", text_bytes, "host", ("encode_text",), can_go=True),
    ]
    if is_offloaded:
        parts.append(Part("text encoder", t5_bytes, "host", after_text))
    return make_plan(
        model=f"predict2 video2world {settings.model_size}{' sparse' if settings.natten else ''}",
        request={
            "input_path": str(request.input_path),
            "num_steps": request.num_steps,
            "guidance": request.guidance,
            "seed": request.seed,
            "num_conditional_frames": request.num_conditional_frames,
            "output": str(output_paths(request)["video"]),
        },
        machine=machine,
        precision=precision,
        files=files,
        frames=frames,
        stages=stages,
        parts=parts,
        output_folder=request.save_path.parent,
        checkpoint_folder=settings.checkpoint_dir,
        cache=settings.cache_dir or Path("~/.cache/cosmos-cli").expanduser(),
        notices=_not_counted(settings),
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


def _frames(settings: Video2WorldSettings, request: Video2WorldRequest) -> Frames:
    variant = VARIANTS[settings.model_size]
    height, width = variant.sizes[resolution_of(settings)][request.aspect_ratio]
    made = request.num_frames or variant.num_frames[settings.fps]
    given_latents = 1 + (request.num_conditional_frames - 1) // _LATENT_FRAMES
    num_latents = max(given_latents, math.ceil((made - 1) / _LATENT_FRAMES) + 1)
    return Frames(
        given=_given_frames(request),
        made=made,
        computed=1 + (num_latents - 1) * _LATENT_FRAMES,
        chunks=1,
        height=height,
        width=width,
        fps=settings.fps,
    )


def _precision(settings: Video2WorldSettings, kind: str) -> str:
    if settings.precision != "auto":
        return settings.precision
    return "float32" if kind == "cpu" else "bfloat16"


def _keys_per_query(settings: Video2WorldSettings, grid_THW: tuple[int, int, int]) -> list[float]:
    """Keys that a token attends to in each block of a sparse checkpoint; nothing where all blocks are dense."""
    if not settings.natten or grid_THW[0] == 1:
        return []
    dense = float(math.prod(grid_THW))
    keys = []
    for letter in VARIANTS[settings.model_size].sparse_layers:
        window = [] if letter == "-" else SPARSE_PATTERNS[letter]["window"]
        # as `NeighborhoodConfig.on_grid` adapts a window to a grid
        scaled = [
            n if size < 2 else min(max(2, round(size * (n / base if base > 0 else 1.0))), n)
            for n, base, size in zip(grid_THW, SPARSE_GRID, window, strict=False)
        ]
        keys.append(float(math.prod(scaled)) if scaled else dense)
    return keys


def _files(settings: Video2WorldSettings) -> list[NeededFile]:
    paths = weight_paths(settings)
    own = [own_file(path, "your own") for path in (settings.dit_path, settings.lora_path) if path is not None]
    if settings.model_size == "tiny":
        shipped = [paths.tokenizer, paths.text_encoder]
        if settings.dit_path is None:
            shipped.insert(0, paths.dit)
        return [*own, *(own_file(path, "Apache-2.0, ships with cosmos") for path in shipped)]
    needed = repositories(
        settings.model_size,
        resolution_of(settings),
        settings.fps,
        natten=settings.natten,
        own_dit=settings.dit_path is not None,
    )
    return [*own, *needed_files(needed, settings.checkpoint_dir)]


def _not_counted(settings: Video2WorldSettings) -> list[str]:
    extensions = registry.current().extensions
    wanted = {"guardrails": not settings.disable_guardrail, "prompt_refiners": not settings.disable_prompt_refiner}
    return [", ".join(found) for kind, is_wanted in wanted.items() if is_wanted and (found := extensions.get(kind))]
