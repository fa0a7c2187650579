"""What `cosmos transfer multiview` will do and cost, without loading anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cosmos_cli import registry
from cosmos_cli.checkpoints.catalogue import GUARDRAILS, TEXT_ENCODER
from cosmos_cli.errors import InputError
from cosmos_cli.generation.plan import Frames, NeededFile, Part, Plan, make_plan, needed_files, own_file
from cosmos_cli.generation.rates import START_SECONDS, TEXT_START_SECONDS, Stage
from cosmos_cli.generation.work import guardrail_parts
from cosmos_cli.models.configs import T5EncoderConfig
from cosmos_cli.models.costs import T5Cost, cost_of, tokenizer_cost_of
from cosmos_cli.runtime.machine import Machine, find_machine
from cosmos_plugins.transfer1.checkpoints import TOKENIZER
from cosmos_plugins.transfer1.chunks import Chunk
from cosmos_plugins.transfer1.multiview.cameras import cameras_of
from cosmos_plugins.transfer1.multiview.checkpoints import repository
from cosmos_plugins.transfer1.multiview.clips import clips_of
from cosmos_plugins.transfer1.multiview.inputs import (
    check_request,
    control_place,
    is_published,
    output_paths,
    too_short,
    weight_paths,
)
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.multiview.variants import CLIP_FRAMES, MULTIVIEW_VARIANTS
from cosmos_plugins.transfer1.planning import (
    ENCODER_FRAMES,
    Networks,
    bytes_under,
    latent_frames,
    precision_on,
    weight_parts,
    working_parts,
)
from cosmos_plugins.transfer1.variants import LATENT_PX, VARIANTS


def plan(settings: MultiviewSettings, request: MultiviewRequest) -> Plan:
    """Check a request as far as that goes without its frames, and say what it will cost.

    Missing weights are part of the plan, no error.

    Raises:
        InputError: all that is wrong with the settings, the controls, the input and the output.
    """
    check_request(settings, request)
    return estimate(settings, request)


def estimate(settings: MultiviewSettings, request: MultiviewRequest) -> Plan:
    """What a request that was checked will cost.

    Raises:
        InputError: a video cannot be read, or is too short, or there is no device.
    """
    machine, variant = find_machine(settings.device), MULTIVIEW_VARIANTS[settings.model_size]
    precision, cameras = precision_on(machine, settings), cameras_of(settings.waymo_example)
    num_given, clips = _clips(settings, request)
    made, computed = len(cameras) * clips[-1].stop, len(cameras) * len(clips) * CLIP_FRAMES
    frames = Frames(num_given, made, computed, len(clips), variant.height, variant.width, request.fps)
    work = _Work(request, _networks(settings, request), frames, len(cameras))
    files, text_encoder = _files(settings, request), weight_paths(settings, request).text_encoder
    weights = weight_parts(settings, work.networks, machine, precision, files, text_encoder)
    planned = make_plan(
        model=f"transfer multiview {settings.model_size} {request.kind}",
        request={
            "view_condition_video": str(request.view_condition_video),
            "cameras": [camera.name for camera in cameras],
            "controls": list(request.active_controls),
            "num_steps": request.num_steps,
            "guidance": request.guidance,
            "seed": request.seed,
            "output": str(output_paths(request)["video"]),
        },
        machine=machine,
        precision=precision,
        files=files,
        frames=frames,
        stages=work.stages(files, text_encoder),
        parts=[
            *weights,
            *work.parts(machine, precision),
            *guardrail_parts(files, offload=settings.offload_guardrail_models),
        ],
        output_folder=request.video_save_folder,
        checkpoint_folder=settings.checkpoint_dir,
        cache=settings.cache_folder,
        notices=list(registry.current().extensions.get("guardrails", {})),
    )
    # the mosaic holds every frame once more
    return replace(planned, output_bytes=2 * planned.output_bytes)


@dataclass(frozen=True)
class _Work:
    """What the networks have to do. frames: of all views together."""

    request: MultiviewRequest
    networks: Networks
    frames: Frames
    num_views: int

    @property
    def latents_THW(self) -> tuple[int, int, int]:
        """Of one clip of all views."""
        height, width = self.frames.height // LATENT_PX, self.frames.width // LATENT_PX
        return self.num_views * latent_frames(CLIP_FRAMES), height, width

    @property
    def num_halves(self) -> int:
        """Of guidance."""
        return 2 if self.request.guidance else 1

    @property
    def num_passes(self) -> int:
        """Evaluations of the base for one clip."""
        return (self.request.num_steps + 1) * self.num_halves

    @property
    def num_encoded(self) -> int:
        """Videos that every clip is encoded from: the controls of all views, and the front video."""
        return self.num_views * len(self.request.active_controls) + 1

    @property
    def num_shared_latents(self) -> int:
        """Latent frames that every view of a clip is given."""
        return latent_frames(self.request.num_input_frames) if self.request.kind == "v2w" else 0

    def denoise_flops(self) -> float:
        """Of one clip."""
        networks = (self.networks.base, *self.networks.branches)
        grid = self.networks.base.grid(self.latents_THW)
        per_pass = sum(network.pass_flops(grid) for network in networks)
        texts = self.num_halves * self.num_views * sum(network.text_flops() for network in networks)
        return self.num_passes * per_pass + texts + sum(branch.hint_flops(grid) for branch in self.networks.branches)

    def encode_flops(self) -> float:
        """Of one clip."""
        tokenizer, size = self.networks.tokenizer, (self.frames.height, self.frames.width)
        flops = self.num_encoded * tokenizer.encode(CLIP_FRAMES, *size).flops
        if self.num_shared_latents:
            flops += self.num_views * tokenizer.encode(self.request.num_input_frames, *size).flops
        return flops

    def stages(self, files: Sequence[NeededFile], text_encoder: Path) -> list[Stage]:
        frames, tokenizer, t5 = self.frames, self.networks.tokenizer, self.networks.t5
        clips, latents = frames.chunks, latent_frames(CLIP_FRAMES)
        pixels = frames.height * frames.width
        text_bytes = bytes_under(files, text_encoder)
        decoded = self.num_views * tokenizer.decode(latents, *self.latents_THW[1:]).flops
        encoded_latents = self.num_encoded * latents + self.num_views * self.num_shared_latents
        return [
            Stage(
                "start",
                {
                    "loading": sum(file.num_bytes for file in files) - text_bytes,
                    "frames": self.num_encoded * frames.made // self.num_views * pixels,
                },
                fixed_s=START_SECONDS,
            ),
            Stage(
                "encode_text",
                {"loading": text_bytes, "attention": self.num_views * t5.flops()},
                num_passes=self.num_views,
                fixed_s=TEXT_START_SECONDS,
            ),
            Stage("encode", {"convolution": clips * self.encode_flops()}, num_passes=clips * encoded_latents),
            Stage(
                "denoise",
                {"attention": clips * self.denoise_flops()},
                num_passes=clips * self.num_passes * (1 + len(self.networks.branches)),
            ),
            Stage(
                "decode",
                {"convolution": clips * decoded, "frames": frames.computed * pixels},
                num_passes=clips * self.latents_THW[0],
            ),
            # the video, and the mosaic
            Stage("write", {"frames": 2 * frames.made * pixels}),
        ]

    def parts(self, machine: Machine, precision: str) -> list[Part]:
        """Working memory and frames."""
        frames, pixels = self.frames, self.frames.height * self.frames.width
        per_view, made = 3 * frames.made // self.num_views * pixels, 3 * frames.computed * pixels
        return [
            *working_parts(
                self.networks,
                machine,
                precision,
                latents_THW=self.latents_THW,
                clip_frames=CLIP_FRAMES,
                num_contexts=self.num_halves * self.num_views,
            ),
            Part("input frames", self.num_encoded * per_view, "host"),
            # the views, and the video that they are joined to
            Part("frames", 2 * made, "host", ("decode",)),
            Part("frames", made, "host", ("write",)),
            Part("video encoder", ENCODER_FRAMES * 1.5 * self.num_views * pixels, "host", ("write",)),
        ]


def _clips(settings: MultiviewSettings, request: MultiviewRequest) -> tuple[int, list[Chunk]]:
    """Frames of the front video, and the clips that it is good for, if the control videos are as long."""
    from cosmos_cli.media.facts import read_facts

    num_given = read_facts(request.view_condition_video).num_frames
    clips, problems = clips_of(request, num_given), []
    for name, control in request.active_controls.items():
        for camera, path in zip(cameras_of(settings.waymo_example), control.input_control, strict=True):
            num_frames = read_facts(path).num_frames
            if num_frames < clips[-1].stop:
                problems.append(too_short(num_frames, clips[-1].stop, control_place(name, camera)))
    if problems:
        raise InputError.from_problems(problems)
    return num_given, clips


def _networks(settings: MultiviewSettings, request: MultiviewRequest) -> Networks:
    variant, num_views = MULTIVIEW_VARIANTS[settings.model_size], len(cameras_of(settings.waymo_example))
    return Networks(
        cost_of(variant.base(num_views)),
        (cost_of(variant.branch(num_views)),) * len(request.active_controls),
        tokenizer_cost_of(VARIANTS[settings.model_size].tokenizer),
        T5Cost(T5EncoderConfig.in_folder(weight_paths(settings, request).text_encoder)),
    )


def _files(settings: MultiviewSettings, request: MultiviewRequest) -> list[NeededFile]:
    paths = weight_paths(settings, request)
    if settings.model_size == "tiny":
        shipped = [paths.base, paths.tokenizer, paths.text_encoder]
        own = [name for name, control in request.active_controls.items() if control.ckpt_path is not None]
        shipped += [path for name, path in paths.controls.items() if name not in own]
        return [
            *(own_file(paths.controls[name], "your own") for name in own),
            *(own_file(path, "Apache-2.0, ships with cosmos") for path in shipped),
        ]
    published = [name for name in paths.controls if is_published(settings, request.controls[name])]
    own_paths = [path for name, path in paths.controls.items() if name not in published]
    needed = [repository([request.kind], published), *TEXT_ENCODER, *GUARDRAILS]
    if settings.tokenizer_dir == TOKENIZER.name.rpartition("/")[2]:
        needed.append(TOKENIZER)
    else:
        own_paths.append(paths.tokenizer)
    return [*(own_file(path, "your own") for path in own_paths), *needed_files(needed, settings.checkpoint_dir)]
