"""Transfer to several cameras: load once, generate many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.generation.plan import Watch
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.image import write_png
from cosmos_cli.media.preview import contact_sheet
from cosmos_cli.media.video import write_video
from cosmos_cli.models.context_parallel import parallelise
from cosmos_cli.models.prompts import encode_prompts
from cosmos_cli.models.t5 import CachedTextEncoder
from cosmos_cli.requests import request_document
from cosmos_cli.runtime import provenance
from cosmos_cli.runtime.compiling import check_compilable, compile_blocks
from cosmos_cli.runtime.devices import choose_device_and_dtype
from cosmos_cli.runtime.files import write_json
from cosmos_cli.runtime.memory.limit import limit_device
from cosmos_cli.runtime.memory.placement import (
    Lowerable,
    Placement,
    Stages,
    load_in_steps,
    loading_device,
    plan_for_device,
)
from cosmos_cli.runtime.memory.residence import RESIDENT, MemoryPlan
from cosmos_cli.runtime.timing import timed
from cosmos_cli.runtime.workers.team import Team
from cosmos_plugins.transfer1.generation import Models
from cosmos_plugins.transfer1.memory import DIT, TEXT, TOKENIZER
from cosmos_plugins.transfer1.multiview.cameras import Camera, cameras_of, full_prompt
from cosmos_plugins.transfer1.multiview.generation import FRONT, Generation
from cosmos_plugins.transfer1.multiview.inputs import output_paths, weight_paths
from cosmos_plugins.transfer1.multiview.memory import plan_stages
from cosmos_plugins.transfer1.multiview.mosaic import mosaic_frames
from cosmos_plugins.transfer1.multiview.networks import load_base, load_branch
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.multiview.samples import Sample
from cosmos_plugins.transfer1.multiview.variants import CLIP_FRAMES, MULTIVIEW_VARIANTS, Kind
from cosmos_plugins.transfer1.multiview.videos import prepare
from cosmos_plugins.transfer1.networks import checked_guardrails, load_chunked_tokenizer
from cosmos_plugins.transfer1.variants import VARIANTS

# V views, F frames of one, H and W height and width; B batch, L text tokens, D embedding width


@dataclass(frozen=True)
class MultiviewResult:
    """What was written, and how long its stages took.

    video: the views one after the other. mosaic: all of them in one picture.
    cameras: names of the views, in order. num_frames: of each view.
    seconds: stage to wall time in seconds.
    not_run: stages that other plugins would bring and that did not take part.
    """

    video: Path
    mosaic: Path
    sidecar: Path
    preview: Path | None
    cameras: list[str]
    num_frames: int
    height: int
    width: int
    fps: int
    num_clips: int
    seconds: dict[str, float]
    not_run: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line for people."""
        size = f"{len(self.cameras)} views of {self.num_frames} frames, {self.width}x{self.height}, {self.fps} fps"
        return f"{self.video}  ({size}, {self.seconds['total']:.1f} s)"

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Made:
    """Finished videos that are not yet on disk.

    frames_VFHWC: (V, F, H, W, 3) uint8. prompts: of every camera, as its network read it.
    """

    sample: Sample
    frames_VFHWC: np.ndarray
    prompts: list[str]
    seconds: dict[str, float]
    not_run: list[str]


class MultiviewPipeline:
    """A loaded model with the control branches of one request; it serves every request with these.

    >>> request = MultiviewRequest(controls={"hdmap": {"input_control": maps}}, view_condition_video="front.mp4")
    >>> MultiviewPipeline.load(MultiviewSettings(model_size="tiny"), request)(request)
    """

    def __init__(
        self,
        settings: MultiviewSettings,
        kind: Kind,
        models: Models,
        text_encoder: CachedTextEncoder,
        guardrails: Guardrails,
    ) -> None:
        self.settings, self.kind, self.models = settings, kind, models
        self.text_encoder, self.guardrails = text_encoder, guardrails

    @classmethod
    def load(cls, settings: MultiviewSettings, request: MultiviewRequest) -> MultiviewPipeline:
        """Load the base for this kind of request, the tokenizer and the branches of its controls.

        Raises:
            GuardrailBlocked: the prompts are refused; nothing else is loaded.
            CheckpointError: weights are missing, damaged or of another network.
            InputError: the device or the attention backend is not to be had.
        """
        device, dtype = choose_device_and_dtype(settings)
        variant, paths = MULTIVIEW_VARIANTS[settings.model_size], weight_paths(settings, request)
        cameras = cameras_of(settings.waymo_example)
        guardrails = checked_guardrails(settings, [[_scene(prompts_of(cameras, request))]])
        team = Team.form(
            device,
            settings.parallel,
            num_heads=variant.dit.num_heads,
            num_items=1,
            guided=request.guidance > 0,
        )
        may_step_down = team.mesh is None and not settings.compile
        memory = limit_device(device, settings.max_memory_bytes)

        def load(plan: MemoryPlan) -> tuple[Models, CachedTextEncoder]:
            network: dict[str, Any] = {
                "attention": settings.attention,
                "dtype": dtype,
                "device": loading_device(plan[DIT], device),
            }
            with output.progress(f"Loading {settings.model_size} for {len(cameras)} cameras on {device}, {plan}"):
                base = load_base(paths.base, variant, len(cameras), **network)
                branches = {
                    file: load_branch(file, variant, len(cameras), **network) for file in paths.controls.values()
                }
                tokenizer = load_chunked_tokenizer(
                    paths.tokenizer,
                    VARIANTS[settings.model_size],
                    chunk_frames=CLIP_FRAMES,
                    dtype=dtype,
                    device=loading_device(plan[TOKENIZER], device),
                )
            for part in (base, *branches.values()):
                parallelise(part, team.token_group)
            text_encoder = CachedTextEncoder(
                paths.text_encoder,
                settings.cache_folder / "text-embeddings",
                dtype=torch.float32,
                device=device,
                residence=plan[TEXT],
                memory=memory,
                on_load=lambda: output.status("Loading the text encoder"),
            )
            placed: dict[str, Lowerable] = {
                TEXT: text_encoder,
                TOKENIZER: Placement([tokenizer.network], device, plan[TOKENIZER], memory),
                DIT: Placement([base, *branches.values()], device, plan[DIT], memory),
            }
            if settings.compile:
                for part in (base, *branches.values()):
                    compile_blocks(part)
            stages = Stages(plan, placed, may_step_down=may_step_down)
            return Models(base, branches, tokenizer, device, dtype, stages, team), text_encoder

        plan = plan_for_device(
            device, memory.limit_bytes or settings.max_memory_bytes, plan_stages(settings, request, dtype)
        )
        if settings.compile:
            check_compilable(team.layout.cp, is_resident=plan[DIT] == RESIDENT)
        models, text_encoder = load_in_steps(load, plan, may_step_down=may_step_down)
        return cls(settings, request.kind, models, text_encoder, guardrails)

    def __call__(self, request: MultiviewRequest) -> MultiviewResult:
        """Film one scene. Raises what `prepare`, `make` and `write` raise."""
        return self.write(self.make(prepare(self.settings, request)))

    @torch.inference_mode()
    def make(self, sample: Sample) -> Made:
        """Make the frames of one prepared scene.

        Raises:
            GuardrailBlocked: the prompts or the videos were refused.
            InputError: the sample needs the model of the other kind, or a control whose branch is not loaded.
        """
        request = sample.request
        if request.kind != self.kind:
            raise InputError(
                f"the loaded model is {self.kind}, but this request needs {request.kind}.",
                where="initial_condition_video",
            )
        files = weight_paths(self.settings, request).controls
        missing = [control.name for control in sample.controls if files[control.name] not in self.models.branches]
        if missing:
            raise InputError(f"the loaded model has no branch for {', '.join(missing)}.", where="controls")
        not_run = self._say_what_does_not_run(sample)
        prompts = prompts_of(sample.cameras, request)
        seconds: dict[str, float] = {}
        with timed("total", seconds):
            with timed("check_prompt", seconds):
                self.guardrails.check_prompt(_scene(prompts))
            frames_VFHWC = self.models.stages.run(lambda: self._frames(sample, prompts, seconds))
            with timed("check_video", seconds):
                checked = self.guardrails.check_video(frames_VFHWC.reshape(-1, *frames_VFHWC.shape[2:]))
                frames_VFHWC = checked.reshape(frames_VFHWC.shape)
        return Made(sample, frames_VFHWC, prompts, seconds, not_run)

    def _frames(self, sample: Sample, prompts: list[str], seconds: dict[str, float]) -> np.ndarray:
        with timed("encode_text", seconds):
            text = self.encode_text(prompts)
        return self.generation(sample, text, seconds).frames()

    def generation(self, sample: Sample, text_BLD: Tensor, seconds: dict[str, float]) -> Generation:
        """The making of a sample with the loaded networks, of which it must not need others."""
        files = weight_paths(self.settings, sample.request).controls
        branches = {control.name: self.models.branches[files[control.name]] for control in sample.controls}
        return Generation(self.models, sample, branches, text_BLD, seconds)

    def _say_what_does_not_run(self, sample: Sample) -> list[str]:
        """Name the stages that do not take part, and why; the user must not believe otherwise."""
        not_run = []
        if self.guardrails.gap:
            not_run.append(self.guardrails.gap)
        if not sample.controls:
            not_run.append("control: every one has weight 0, only the front video and the prompts act")
        for line in not_run:
            output.notice(line)
        if self.settings.model_size == "tiny":
            output.notice("the tiny model has random weights: the videos show noise")
        return not_run

    def encode_text(self, prompts: list[str]) -> Tensor:
        """Contexts of all prompts, one after the other, (1, V * L, D)."""
        device, dtype = self.models.device, self.models.dtype
        return torch.cat([encode_prompts(self.text_encoder, text, "", device, dtype)[0] for text in prompts], dim=1)

    def write(self, made: Made, watch: Watch | None = None) -> MultiviewResult:
        """Write the files of a scene; the sidecar comes last, so it vouches for the others.

        Of several processes that made it together, one writes.

        Args:
            watch: what was planned, to stand in the sidecar beside what it took.
        """
        is_writer, seconds = self.models.team.is_writer, made.seconds
        with timed("write", seconds):
            if is_writer:
                self._write_media(made.sample, made.frames_VFHWC, made.prompts)
        seconds["total"] += seconds["write"]
        request, paths = made.sample.request, output_paths(made.sample.request)
        names = [camera.name for camera in made.sample.cameras]
        _, num_frames, height, width, _ = made.frames_VFHWC.shape
        result = MultiviewResult(
            video=paths["video"],
            mosaic=paths["mosaic"],
            sidecar=paths["sidecar"],
            preview=paths.get("preview"),
            cameras=names,
            num_frames=num_frames,
            height=height,
            width=width,
            fps=request.fps,
            num_clips=len(made.sample.clips),
            seconds={stage: round(value, 3) for stage, value in seconds.items()},
            not_run=made.not_run,
        )
        files = weight_paths(self.settings, request)
        named = {"base": files.base, "tokenizer": files.tokenizer, "text_encoder": files.text_encoder}
        document = {
            "command": "cosmos transfer multiview",
            # to make a video again must not mean to replace one
            "request": request_document(self.settings, request.model_copy(update={"overwrite": False})),
            "prompts_used": dict(zip(names, made.prompts, strict=True)),
            "result": result.document(),
            "checked_by": self.guardrails.names,
            "notices": output.notices(),
            "weights": provenance.weights({**named, **files.controls}),
            "environment": provenance.environment(self.models.device, self.models.dtype),
            "parallel": str(self.models.team.layout),
        }
        if watch is not None:
            document |= watch.finish(seconds)
        if is_writer:
            write_json(paths["sidecar"], document)
        return result

    def _write_media(self, sample: Sample, frames_VFHWC: np.ndarray, prompts: list[str]) -> None:
        request, paths = sample.request, output_paths(sample.request)
        write_video(paths["video"], (frame for view in frames_VFHWC for frame in view), request.fps)
        write_video(paths["mosaic"], mosaic_frames(frames_VFHWC, sample.cameras), request.fps)
        if "preview" in paths:
            write_png(paths["preview"], contact_sheet(prompts[FRONT], list(self._preview_rows(sample, frames_VFHWC))))

    def _preview_rows(self, sample: Sample, frames_VFHWC: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        yield "front video", sample.front_FHWC
        for number, camera in enumerate(sample.cameras):
            for control in sample.controls:
                yield f"{camera.name}, {control.name}, weight {control.weight:g}", control.frames_VFHWC[number]
            yield f"{camera.name}, output, seed {sample.request.seed}", frames_VFHWC[number]


def prompts_of(cameras: Sequence[Camera], request: MultiviewRequest) -> list[str]:
    """The prompt of every camera, as its network reads it."""
    return [full_prompt(camera, getattr(request, camera.field)) for camera in cameras]


def _scene(prompts: Sequence[str]) -> str:
    """All prompts as one text, which is how they are checked."""
    return ". ".join(prompts)
