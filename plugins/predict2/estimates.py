"""What a model of one DiT and the Wan tokenizer costs, whatever it makes: time stage by stage, and memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_cli import registry
from cosmos_cli.checkpoints.catalogue import GUARDRAILS, Repository
from cosmos_cli.generation.plan import CPU_SCRATCH, Frames, NeededFile, Part, Plan, make_plan, needed_files, own_file
from cosmos_cli.generation.rates import START_SECONDS, TEXT_START_SECONDS, Stage
from cosmos_cli.generation.work import guardrail_parts
from cosmos_cli.models.configs import T5EncoderConfig
from cosmos_cli.models.costs import DiTCost, T5Cost, TokenizerCost
from cosmos_cli.runtime.machine import Machine, find_machine
from cosmos_plugins.predict2.checks import Weights
from cosmos_plugins.predict2.requests import Video2WorldSettings
from cosmos_plugins.predict2.settings import DitSettings, TextSettings

LATENT_FRAMES = 4
"""Frames that one latent frame stands for."""
_LATENT_PX = 8
_STATES = 10
"""Tensors of the latents' shape in float32 that the sampler holds, those in float64 counted twice."""
_ENCODER_FRAMES = 60
"""Frames that x264 looks ahead."""
_PICTURE_BITS_PER_PX = 8.0
"""Between a JPEG of quality 85, some 2, and a PNG, some 15."""


@dataclass(frozen=True)
class Work:
    """What a picture or a video asks of the networks.

    clip_px: frames, height and width of what the tokenizer decodes at once.
    num_passes: evaluations of the DiT in a round.
    num_given: frames of a clip that are encoded.
    num_texts: texts that the text encoder reads.
    num_contexts: texts that the DiT is evaluated under, one by one; each clip has its own.
    num_clips: clips that are denoised together, such as views.
    num_rounds: how often all of this is done, such as chunks.
    keys_per_query: see `DiTCost.pass_flops`.
    """

    clip_px: tuple[int, int, int]
    num_passes: int
    num_given: int = 0
    num_texts: int = 0
    num_contexts: int = 1
    num_clips: int = 1
    num_rounds: int = 1
    keys_per_query: Sequence[float] = ()

    @property
    def latents(self) -> tuple[int, int, int]:
        """Latent frames, height and width of one clip."""
        frames, height, width = self.clip_px
        return 1 + (frames - 1) // LATENT_FRAMES, height // _LATENT_PX, width // _LATENT_PX

    @property
    def num_pixels(self) -> int:
        """Of all clips of all rounds."""
        return self.num_rounds * self.num_clips * math.prod(self.clip_px)


def estimate_work(
    settings: DitSettings | Video2WorldSettings,
    weights: Weights,
    dit: DiTCost,
    vae: TokenizerCost,
    work: Work,
    *,
    model: str,
    request: Mapping[str, Any],
    files: Sequence[NeededFile],
    frames: Frames,
    output: Path,
    machine: Machine | None = None,
    is_first: bool = True,
    notices: Sequence[str] = (),
) -> Plan:
    """What a request that was checked will cost.

    Args:
        model, request, files, frames: as in `Plan`.
        output: what the request writes first.
        machine: if it was found before.
        is_first: whether the process must load everything first; False where the model has worked before.
        notices: what the numbers leave out, beside what they always do.
    Raises:
        InputError: there is no such device.
    """
    machine = machine or find_machine(settings.device)
    precision = _precision(settings, machine.kind)
    num_bytes = 2 if precision == "bfloat16" else 4
    scratch = CPU_SCRATCH if machine.kind == "cpu" else 1.0
    num_latents, latents_H, latents_W = work.latents
    latents_THW = (work.num_clips * num_latents, latents_H, latents_W)
    num_clips = work.num_rounds * work.num_clips
    grid = dit.grid(latents_THW)
    per_pass = dit.pass_flops(grid, modulations=dit.modulations(latents_THW[0]), keys_per_query=work.keys_per_query)
    num_texts = work.num_contexts * work.num_clips
    denoising = work.num_rounds * (work.num_passes * per_pass + num_texts * dit.text_flops())
    decoded = vae.decode(*work.latents)

    of_text = [weights.text_encoder in (file.path, *file.path.parents) for file in files]
    text_bytes = sum(file.num_bytes for file, is_text in zip(files, of_text, strict=True) if is_text)
    model_bytes = [file.num_bytes for file, is_text in zip(files, of_text, strict=True) if not is_text]
    latent_numbers = dit.config.in_channels * math.prod(latents_THW)
    video_bytes = 3 * work.num_pixels
    frame_pixels = frames.height * frames.width

    stages: list[Stage] = []
    parts = [
        Part("DiT", dit.parameters * num_bytes),
        Part("tokenizer", vae.parameters * num_bytes),
        Part("texts", num_texts * dit.text_elements() * num_bytes, stages=("denoise",)),
        Part("activations", scratch * dit.live_elements(grid, num_bytes) * num_bytes, stages=("denoise",)),
        Part("latents", _STATES * 4 * latent_numbers, stages=("denoise",)),
        Part("decoding", scratch * decoded.elements * num_bytes, stages=("decode",)),
        # the pieces, and the video that they are joined to
        Part("frames", 2 * video_bytes, "host", ("decode",)),
        Part("frames", video_bytes, "host", ("write",)),
        Part("weight files being read", max(model_bytes), "host", ("start",), can_go=True),
        Part("weight files being read", text_bytes, "host", ("encode_text",), can_go=True),
    ]
    if is_first:
        stages.append(Stage("start", {"loading": sum(model_bytes)}, fixed_s=START_SECONDS))
    if isinstance(settings, TextSettings | Video2WorldSettings):
        t5 = T5Cost(T5EncoderConfig.in_folder(weights.text_encoder))
        reading = work.num_texts * t5.flops()
        stages.append(
            Stage(
                "encode_text",
                {"loading": text_bytes if is_first else 0, "attention": reading},
                work.num_texts,
                TEXT_START_SECONDS if is_first else 0.0,
            )
        )
    if work.num_given:
        encoded = vae.encode(work.num_given, *work.clip_px[1:])
        stages.append(Stage("encode_frames", {"convolution": num_clips * encoded.flops}, num_clips))
        parts.append(Part("encoding", scratch * encoded.elements * num_bytes, stages=("encode_frames",)))
    stages += [
        Stage("denoise", {"attention": denoising}, work.num_rounds * work.num_passes),
        Stage(
            "decode",
            {"convolution": num_clips * decoded.flops, "frames": work.num_pixels},
            num_clips * num_latents,
        ),
        Stage("write", {"frames": frames.made * frame_pixels}),
    ]
    if isinstance(settings, TextSettings | Video2WorldSettings):
        t5_bytes = t5.parameters * (2 if settings.downcast_text_encoder else 4)
        after_start = tuple(stage.name for stage in stages if stage.name != "start")
        is_offloaded = settings.offload_text_encoder and machine.kind == "cuda"
        parts += [
            Part("text encoder", t5_bytes, stages=("encode_text",) if is_offloaded else after_start),
            Part("text activations", scratch * t5.live_elements() * t5_bytes / t5.parameters, stages=("encode_text",)),
        ]
        if is_offloaded:
            parts.append(Part("text encoder", t5_bytes, "host", after_start))
    if frames.fps:
        parts.append(Part("video encoder", _ENCODER_FRAMES * 1.5 * frame_pixels, "host", ("write",)))
    return make_plan(
        model=model,
        request={**request, "output": str(output)},
        machine=machine,
        precision=precision,
        files=files,
        frames=frames,
        stages=stages,
        parts=[*parts, *guardrail_parts(files, offload=settings.offload_guardrail)],
        output_folder=output.parent,
        checkpoint_folder=settings.checkpoint_dir,
        cache=settings.cache_folder,
        notices=[*_not_counted(settings), *notices],
        **({} if frames.fps else {"output_bits_per_px": _PICTURE_BITS_PER_PX}),
    )


def files_of(
    settings: DitSettings | Video2WorldSettings,
    weights: Weights,
    own: Iterable[Path | None],
    needed: Callable[[], Iterable[Repository]],
) -> list[NeededFile]:
    """All files that a run reads.

    Args:
        own: those that the user brings.
        needed: tells what is published of them; not asked for the tiny model.
    """
    owned = [own_file(path, "your own") for path in own if path is not None]
    if settings.model_size == "tiny":
        shipped = [weights.dit] if settings.dit_path is None else []
        shipped.append(weights.tokenizer)
        if isinstance(settings, TextSettings | Video2WorldSettings):
            shipped.append(weights.text_encoder)
        return [*owned, *(own_file(path, "Apache-2.0, ships with cosmos") for path in shipped)]
    guardrails = () if settings.disable_guardrail else GUARDRAILS
    return [*owned, *needed_files([*needed(), *guardrails], settings.checkpoint_dir)]


def _precision(settings: DitSettings | Video2WorldSettings, kind: str) -> str:
    if settings.precision != "auto":
        return settings.precision
    return "float32" if kind == "cpu" else "bfloat16"


def _not_counted(settings: DitSettings | Video2WorldSettings) -> list[str]:
    found = []
    if not settings.disable_guardrail and (names := registry.current().extensions.get("guardrails")):
        found.append(", ".join(names))
    if settings.num_gpus > 1:
        found.append(f"the sharing among {settings.num_gpus} GPUs: time and memory are those of one alone")
    if settings.max_memory is not None or settings.offload_diffusion_transformer:
        found.append("weights that leave the device: memory is that of all weights on it")
    return found
