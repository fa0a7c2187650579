"""What `cosmos transfer run` will do and cost, without loading anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli import registry
from cosmos_cli.errors import report_together
from cosmos_cli.generation.plan import CPU_SCRATCH, Frames, NeededFile, Part, Plan, make_plan, needed_files, own_file
from cosmos_cli.generation.rates import START_SECONDS, TEXT_START_SECONDS, Stage, Work
from cosmos_cli.generation.work import guardrail_parts
from cosmos_cli.models.configs import T5EncoderConfig
from cosmos_cli.models.costs import ControlCost, DiTCost, T5Cost, TokenizerCost, cost_of, tokenizer_cost_of
from cosmos_cli.runtime.machine import Machine, find_machine
from cosmos_plugins.transfer1.checkpoints import TOKENIZER, repositories
from cosmos_plugins.transfer1.inputs import (
    check_outputs,
    check_request,
    checkpoint_root,
    needed_annotators,
    output_paths,
    weight_paths,
)
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.variants import CHUNK_FRAMES, LATENT_PX, VARIANTS, Variant

if TYPE_CHECKING:
    from cosmos_cli.settings import MachineSettings
    from cosmos_plugins.transfer1.multiview.requests import MultiviewSettings

_LATENT_FRAMES = 8
_UPSCALE_FACTOR = 3
_STATES = 14
"""Tensors of the latents' shape in float32 that the sampler holds, those in float64 counted twice."""
ENCODER_FRAMES = 60
"""Frames that x264 looks ahead."""


def plan(settings: TransferSettings, request: TransferRequest) -> Plan:
    """Check a request as far as that goes without its frames, and say what it will cost.

    Missing weights are part of the plan, no error.

    Raises:
        InputError: all that is wrong with the settings, the controls, the input and the output.
    """
    report_together(lambda: check_request(settings, request), lambda: check_outputs(request))
    return estimate(settings, request)


def estimate(
    settings: TransferSettings,
    request: TransferRequest,
    *,
    machine: Machine | None = None,
    loaded: Loaded | None = None,
    is_first: bool = True,
) -> Plan:
    """What a request that was checked will cost.

    Args:
        machine: None is this one with the device of the settings.
        loaded: for a row of a batch, what is loaded for all of them; the frames of the rows before and after it then
            count too.
        is_first: False for what is made with networks that are loaded already.
    Raises:
        InputError: a video cannot be read, or there is no device.
    """
    machine = machine or find_machine(settings.device)
    variant = VARIANTS[settings.model_size]
    precision = precision_on(machine, settings)
    networks = _networks(settings, request, variant)
    frames, tile = _frames(request, variant)
    work = _Work(request, networks, frames, tile, settings.use_distilled)
    beside = work.parts_beside() if loaded else []
    loaded = loaded or loaded_for(settings, [request])
    files = loaded.files
    text_encoder = weight_paths(settings, request).text_encoder
    stages = work.stages(files, text_encoder)
    if not is_first:
        stages = [replace(stage, amounts=_without_loading(stage.amounts), fixed_s=0.0) for stage in stages]
    return make_plan(
        model=f"transfer run {settings.model_size}{_kind(settings)}",
        request={
            "input_video_path": str(request.input_video_path) if request.input_video_path else None,
            "controls": list(request.active_controls),
            "num_steps": 1 if settings.use_distilled else request.num_steps,
            "guidance": 0.0 if settings.use_distilled else request.guidance,
            "seed": request.seed,
            "output": str(output_paths(request)["video"]),
        },
        machine=machine,
        precision=precision,
        files=files,
        frames=frames,
        stages=stages,
        parts=[
            *weight_parts(settings, loaded.networks, machine, precision, files, text_encoder),
            *work.parts(machine, precision),
            *guardrail_parts(files, offload=settings.offload_guardrail_models),
            *beside,
        ],
        output_folder=request.video_save_folder,
        checkpoint_folder=settings.checkpoint_dir,
        cache=settings.cache_folder,
        notices=_not_counted(settings, request),
    )


@dataclass(frozen=True)
class Networks:
    """What a run's networks cost."""

    base: DiTCost
    branches: tuple[ControlCost, ...]
    tokenizer: TokenizerCost
    t5: T5Cost


@dataclass(frozen=True)
class Loaded:
    """What is loaded at once: files, and networks with a branch for each that one of the requests uses."""

    files: tuple[NeededFile, ...]
    networks: Networks


def loaded_for(settings: TransferSettings, requests: Sequence[TransferRequest]) -> Loaded:
    """What these requests need together."""
    files = {file.path: file for request in requests for file in _files(settings, request)}
    branches = {path for request in requests for path in weight_paths(settings, request).controls.values()}
    networks = _networks(settings, requests[0], VARIANTS[settings.model_size])
    return Loaded(tuple(files.values()), replace(networks, branches=(_branch(settings),) * len(branches)))


def precision_on(machine: Machine, settings: MachineSettings) -> str:
    """The precision of the networks, "auto" resolved."""
    if settings.precision != "auto":
        return settings.precision
    return "float32" if machine.kind == "cpu" else "bfloat16"


@dataclass(frozen=True)
class _Work:
    """What the networks have to do. tile: (height, width) in pixels of the picture that they see."""

    request: TransferRequest
    networks: Networks
    frames: Frames
    tile: tuple[int, int]
    is_distilled: bool

    @property
    def num_tiles(self) -> int:
        return _UPSCALE_FACTOR**2 if self.request.is_upscaling else 1

    @property
    def latents_THW(self) -> tuple[int, int, int]:
        height, width = self.tile
        return latent_frames(CHUNK_FRAMES), height // LATENT_PX, width // LATENT_PX

    @property
    def is_guided(self) -> bool:
        return self.request.guidance > 0 and not self.is_distilled

    @property
    def num_passes(self) -> int:
        """Evaluations of the base for one chunk of one tile."""
        return 1 if self.is_distilled else (self.request.num_steps + 1) * (2 if self.is_guided else 1)

    @property
    def num_encoded(self) -> int:
        """Clips that every chunk of every tile is encoded from: the controls, and the input where it is the start."""
        return len(self.request.active_controls) + (self.request.starts_from_video and not self.is_distilled)

    def denoise_flops(self) -> float:
        """Of one chunk of one tile."""
        base, branches = self.networks.base, self.networks.branches
        grid, num_texts = base.grid(self.latents_THW), 1 + len(self.request.regional_prompts)
        per_pass = sum(network.pass_flops(grid, num_texts=num_texts) for network in (base, *branches))
        contexts = (2 if self.is_guided else 1) + len(self.request.regional_prompts)
        texts = contexts * sum(network.text_flops() for network in (base, *branches))
        return self.num_passes * per_pass + texts + sum(branch.hint_flops(grid) for branch in branches)

    def stages(self, files: Sequence[NeededFile], text_encoder: Path) -> list[Stage]:
        tokenizer, request, frames = self.networks.tokenizer, self.request, self.frames
        latents = self.latents_THW
        num_texts = 1 + bool(request.negative_prompt) + len(request.regional_prompts)
        encoded = self.num_encoded * tokenizer.encode(CHUNK_FRAMES, *self.tile).flops
        pieces = frames.chunks * self.num_tiles
        text_bytes = bytes_under(files, text_encoder)
        tile_px = self.tile[0] * self.tile[1]
        read_px = (self.num_encoded + 1) * frames.made * tile_px
        pixels = frames.height * frames.width
        num_passes = pieces * self.num_passes * (1 + len(self.networks.branches))
        return [
            Stage(
                "start",
                {"loading": sum(file.num_bytes for file in files) - text_bytes, "frames": read_px},
                fixed_s=START_SECONDS,
            ),
            Stage(
                "encode_text",
                {"loading": text_bytes, "attention": num_texts * self.networks.t5.flops()},
                num_passes=num_texts,
                fixed_s=TEXT_START_SECONDS,
            ),
            Stage("encode", {"convolution": pieces * encoded}, num_passes=pieces * self.num_encoded * latents[0]),
            Stage("denoise", {"attention": pieces * self.denoise_flops()}, num_passes=num_passes),
            Stage(
                "decode",
                {"convolution": pieces * tokenizer.decode(*latents).flops, "frames": frames.computed * pixels},
                num_passes=pieces * latents[0],
            ),
            Stage("write", {"frames": frames.made * pixels}),
        ]

    def parts(self, machine: Machine, precision: str) -> list[Part]:
        """Working memory and frames."""
        frames, num_bytes = self.frames, bytes_of(precision)
        tile_px, pixels = self.tile[0] * self.tile[1], frames.height * frames.width
        canvas_px = tile_px * self.num_tiles
        held = self.num_encoded * 3 * frames.made * canvas_px
        made = 3 * frames.computed * pixels
        parts = [
            *working_parts(
                self.networks,
                machine,
                precision,
                latents_THW=self.latents_THW,
                clip_frames=CHUNK_FRAMES,
                num_contexts=(2 if self.is_guided else 1) + len(self.request.regional_prompts),
                num_tiles=self.num_tiles,
            ),
            Part("input frames", held, "host"),
            # the pieces, and the video that they are joined to
            Part("frames", 2 * made, "host", ("decode",)),
            Part("frames", made, "host", ("write",)),
            Part("video encoder", ENCODER_FRAMES * 1.5 * pixels, "host", ("write",)),
        ]
        if self.request.is_upscaling:
            parts.append(Part("tiles", 3 * CHUNK_FRAMES * canvas_px * num_bytes, "host", ("decode",)))
        return parts

    def parts_beside(self) -> list[Part]:
        """Frames of the next video, which is being prepared, and of the last, which is being written, if alike."""
        frames, pixels = self.frames, self.frames.height * self.frames.width
        given = self.num_encoded * 3 * frames.made * self.tile[0] * self.tile[1] * self.num_tiles
        encoder = ENCODER_FRAMES * 1.5 * pixels
        return [Part("next and last video", 2 * given + 3 * frames.made * pixels + encoder, "host")]


def working_parts(
    networks: Networks,
    machine: Machine,
    precision: str,
    *,
    latents_THW: tuple[int, int, int],
    clip_frames: int,
    num_contexts: int,
    num_tiles: int = 1,
) -> list[Part]:
    """What the networks take beside their weights to encode, denoise and decode.

    Args:
        latents_THW: of one evaluation of the base.
        clip_frames: that pass through the tokenizer at once.
        num_contexts: texts that every network reads, the negative prompt included.
        num_tiles: whose texts, controls and latents are held at the same time.
    """
    base, branches, tokenizer = networks.base, networks.branches, networks.tokenizer
    num_bytes = bytes_of(precision)
    scratch = CPU_SCRATCH if machine.kind == "cpu" else 1.0
    grid = base.grid(latents_THW)
    tokens_bytes = math.prod(grid) * base.config.model_channels * num_bytes
    texts = num_contexts * sum(network.text_elements() for network in (base, *branches)) * num_bytes
    # of every branch: the hint, the positions, its own tokens between two blocks; and one sum of all residuals
    of_branches = (3 * len(branches) + 1) * tokens_bytes if branches else 0
    height, width = latents_THW[1] * LATENT_PX, latents_THW[2] * LATENT_PX
    latent_numbers = base.config.in_channels * math.prod(latents_THW) * num_tiles
    encoding = tokenizer.encode(clip_frames, height, width).elements
    decoding = tokenizer.decode(tokenizer.latent_frames(clip_frames), *latents_THW[1:]).elements
    return [
        Part("texts", num_tiles * texts, stages=("denoise",)),
        Part("activations", scratch * base.live_elements(grid, num_bytes) * num_bytes, stages=("denoise",)),
        Part("controls", num_tiles * of_branches, stages=("denoise",)),
        Part("latents", (_STATES + len(branches)) * 4 * latent_numbers, stages=("denoise",)),
        Part("encoding", scratch * encoding * num_bytes, stages=("encode",)),
        Part("clip", 3 * clip_frames * height * width * num_bytes, stages=("encode",)),
        Part("decoding", scratch * decoding * num_bytes, stages=("decode",)),
    ]


def weight_parts(
    settings: TransferSettings | MultiviewSettings,
    networks: Networks,
    machine: Machine,
    precision: str,
    files: Sequence[NeededFile],
    text_encoder: Path,
) -> list[Part]:
    """Weights where they lie, and their files while they are read."""
    text_bytes = bytes_under(files, text_encoder)
    model_bytes = max(file.num_bytes for file in files if text_encoder not in (file.path, *file.path.parents))
    num_bytes = bytes_of(precision)
    dit_bytes = sum(network.parameters for network in (networks.base, *networks.branches)) * num_bytes
    t5_bytes = networks.t5.parameters * 4
    after_text = ("encode_text", "encode", "denoise", "decode", "write")
    offload_dit = settings.offload_diffusion_transformer and machine.kind == "cuda"
    offload_t5 = settings.offload_text_encoder_model and machine.kind == "cuda"
    parts = [
        Part("DiT", dit_bytes, stages=("denoise",) if offload_dit else ()),
        Part("tokenizer", networks.tokenizer.parameters * num_bytes),
        Part("text encoder", t5_bytes, stages=after_text[:1] if offload_t5 else after_text),
        Part("text activations", 4 * networks.t5.live_elements(), stages=("encode_text",)),
        Part("weight files being read", model_bytes, "host", ("start",), can_go=True),
        Part("weight files being read", text_bytes, "host", ("encode_text",), can_go=True),
    ]
    if offload_dit:
        parts.append(Part("DiT", dit_bytes, "host"))
    if offload_t5:
        parts.append(Part("text encoder", t5_bytes, "host", after_text))
    return parts


def _networks(settings: TransferSettings, request: TransferRequest, variant: Variant) -> Networks:
    return Networks(
        cost_of(variant.base(driving=settings.is_av_sample)),
        (_branch(settings),) * len(request.active_controls),
        tokenizer_cost_of(variant.tokenizer),
        T5Cost(T5EncoderConfig.in_folder(weight_paths(settings, request).text_encoder)),
    )


def _branch(settings: TransferSettings) -> ControlCost:
    return cost_of(VARIANTS[settings.model_size].branch(driving=settings.is_av_sample))


def _frames(request: TransferRequest, variant: Variant) -> tuple[Frames, tuple[int, int]]:
    """Lengths and sizes of the output, and the size of the picture that the networks see."""
    from cosmos_cli.media.facts import read_facts
    from cosmos_plugins.transfer1.chunks import plan_chunks

    given = [control.input_control for control in request.active_controls.values()]
    videos = [read_facts(path) for path in (request.input_video_path, *given) if path is not None]
    first = videos[0]
    made = first.num_frames if request.input_video_path else min(video.num_frames for video in videos)
    ratios = {name: int(name.partition(":")[0]) / int(name.partition(":")[2]) for name in variant.sizes}
    nearest = min(ratios, key=lambda name: (ratios[name] - first.width / first.height) ** 2)
    height, width = variant.sizes[nearest]
    chunks = plan_chunks(made, request.num_input_frames)
    factor = _UPSCALE_FACTOR if request.is_upscaling else 1
    frames = Frames(first.num_frames, made, chunks[-1].stop, len(chunks), factor * height, factor * width, request.fps)
    return frames, (height, width)


def _files(settings: TransferSettings, request: TransferRequest) -> list[NeededFile]:
    variant, paths = VARIANTS[settings.model_size], weight_paths(settings, request)
    own = {name for name, control in request.active_controls.items() if control.ckpt_path is not None}
    files = [own_file(paths.controls[name], "your own") for name in own]
    if settings.model_size == "tiny":
        shipped = [path for name, path in paths.controls.items() if name not in own]
        shipped += [paths.base, paths.tokenizer, paths.text_encoder]
        return [*files, *(own_file(path, "Apache-2.0, ships with cosmos") for path in dict.fromkeys(shipped))]
    published = [name for name in paths.controls if name not in own]
    needed = repositories(variant, published, driving=settings.is_av_sample, distilled=settings.use_distilled)
    if settings.tokenizer_dir != TOKENIZER.name.rpartition("/")[2]:
        needed.remove(TOKENIZER)
        files.append(own_file(paths.tokenizer, "your own"))
    return [*files, *needed_files([*needed, *needed_annotators(request)], checkpoint_root(settings))]


def _without_loading(amounts: Mapping[Work, float]) -> dict[Work, float]:
    return {work: amount for work, amount in amounts.items() if work != "loading"}


def bytes_of(precision: str) -> int:
    """Of one number."""
    return 2 if precision == "bfloat16" else 4


def latent_frames(num_frames: int) -> int:
    """Of a clip."""
    return 1 + (num_frames - 1) // _LATENT_FRAMES


def _kind(settings: TransferSettings) -> str:
    return " driving" if settings.is_av_sample else " distilled" if settings.use_distilled else ""


def bytes_under(files: Sequence[NeededFile], folder: Path) -> int:
    """Of a file, or of all files in a folder."""
    return sum(file.num_bytes for file in files if folder in (file.path, *file.path.parents))


def _not_counted(settings: TransferSettings, request: TransferRequest) -> list[str]:
    """What other models add to time and memory."""
    found = [f"the making of {repository.name}'s maps" for repository in needed_annotators(request)]
    if settings.upsample_prompt:
        found.append("the prompt upsampler")
    return found + list(registry.current().extensions.get("guardrails", {}))
