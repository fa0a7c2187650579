"""Transfer: load once, generate many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmos_cli import output, registry
from cosmos_cli.errors import InputError
from cosmos_cli.generation.plan import Watch
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.image import write_png
from cosmos_cli.media.preview import contact_sheet
from cosmos_cli.media.video import write_video
from cosmos_cli.models.context_parallel import parallelise
from cosmos_cli.models.prompts import Refiner, checked_prompt, encode_prompts
from cosmos_cli.models.t5 import CachedTextEncoder
from cosmos_cli.requests import request_document
from cosmos_cli.runtime import provenance
from cosmos_cli.runtime.compiling import check_compilable, compile_blocks
from cosmos_cli.runtime.devices import choose_device_and_dtype, cores
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
from cosmos_plugins.transfer1.checkpoints import choose_control
from cosmos_plugins.transfer1.chunks import plan_chunks
from cosmos_plugins.transfer1.generation import Generation, Models, Texts
from cosmos_plugins.transfer1.inputs import output_paths, weight_paths
from cosmos_plugins.transfer1.memory import DIT, TEXT, TOKENIZER, plan_stages
from cosmos_plugins.transfer1.networks import checked_guardrails, load_base, load_branch, load_chunked_tokenizer
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.samples import Sample
from cosmos_plugins.transfer1.upsampler import PromptUpsampler
from cosmos_plugins.transfer1.variants import VARIANTS
from cosmos_plugins.transfer1.videos import map_frames_of, prepare, read_sample

# F frames, H and W pixel height and width; L text tokens, D embedding width


@dataclass(frozen=True)
class TransferResult:
    """What was written, and how long its stages took.

    controls: modality to the control video that was computed and saved.
    seconds: stage to wall time in seconds.
    not_run: stages that other plugins would bring and that did not take part.
    """

    video: Path
    sidecar: Path
    preview: Path | None
    controls: dict[str, str]
    num_frames: int
    height: int
    width: int
    fps: int
    num_chunks: int
    seconds: dict[str, float]
    not_run: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line for people."""
        size = f"{self.num_frames} frames, {self.width}x{self.height}, {self.fps} fps"
        return f"{self.video}  ({size}, {self.seconds['total']:.1f} s)"

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Made:
    """A finished video that is not yet on disk.

    frames_FHWC: (F, H, W, 3) uint8. prompt: what was used in the end.
    """

    sample: Sample
    frames_FHWC: np.ndarray
    prompt: str
    seconds: dict[str, float]
    not_run: list[str]


class TransferPipeline:
    """A loaded Transfer1 model with the control branches of some requests; it serves every request with these.

    >>> request = TransferRequest(controls={"edge": {}}, input_video_path="street.mp4", video_save_folder="out")
    >>> TransferPipeline.load(TransferSettings(model_size="tiny"), [request])(request)
    """

    def __init__(
        self,
        settings: TransferSettings,
        models: Models,
        text_encoder: CachedTextEncoder,
        guardrails: Guardrails,
        refiners: Mapping[str, Refiner],
    ) -> None:
        self.settings, self.models, self.text_encoder = settings, models, text_encoder
        self.guardrails, self.refiners = guardrails, dict(refiners)

    @classmethod
    def load(
        cls, settings: TransferSettings, requests: Sequence[TransferRequest], guardrails: Guardrails | None = None
    ) -> TransferPipeline:
        """Load the base, the tokenizer and every branch that one of the requests uses.

        Args:
            guardrails: those of `checked_guardrails`, if the requests have been checked.
        Raises:
            GuardrailBlocked: the prompts of all requests are refused; nothing is loaded.
            CheckpointError: weights are missing, damaged or of another network.
            InputError: the device or the attention backend is not to be had.
        """
        device, dtype = choose_device_and_dtype(settings)
        variant, paths = VARIANTS[settings.model_size], [weight_paths(settings, request) for request in requests]
        guardrails = guardrails or checked_guardrails(settings, map(prompts_of, requests))
        files = list(dict.fromkeys(file for each in paths for file in each.controls.values()))
        names = dict.fromkeys(name for each in paths for name in each.controls)
        team = Team.form(
            device,
            settings.parallel,
            num_heads=variant.dit.num_heads,
            num_items=len(requests),
            guided=not settings.use_distilled and any(request.guidance for request in requests),
        )
        may_step_down = team.mesh is None and not settings.compile
        memory = limit_device(device, settings.max_memory_bytes)

        def load(plan: MemoryPlan) -> tuple[Models, CachedTextEncoder]:
            network: dict[str, Any] = {
                "driving": settings.is_av_sample,
                "distilled": settings.use_distilled,
                "attention": settings.attention,
                "dtype": dtype,
                "device": loading_device(plan[DIT], device),
            }
            with output.progress(f"Loading {settings.model_size} with {', '.join(names)} on {device}, {plan}"):
                base = load_base(paths[0].base, variant, **network)
                branches = {file: load_branch(file, variant, **network) for file in files}
                tokenizer = load_chunked_tokenizer(
                    paths[0].tokenizer, variant, dtype=dtype, device=loading_device(plan[TOKENIZER], device)
                )
            for part in (base, *branches.values()):
                parallelise(part, team.token_group)
            text_encoder = CachedTextEncoder(
                paths[0].text_encoder,
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
            stages, distilled = Stages(plan, placed, may_step_down=may_step_down), settings.use_distilled
            models = Models(base, branches, tokenizer, device, dtype, stages, team, is_distilled=distilled)
            return models, text_encoder

        plan = plan_for_device(
            device, memory.limit_bytes or settings.max_memory_bytes, plan_stages(settings, requests, dtype)
        )
        if settings.compile:
            check_compilable(team.layout.cp, is_resident=plan[DIT] == RESIDENT)
        models, text_encoder = load_in_steps(load, plan, may_step_down=may_step_down)
        refiners = _load_refiners(settings, list(names), device)
        return cls(settings, models, text_encoder, guardrails, refiners)

    def __call__(self, request: TransferRequest) -> TransferResult:
        """Make one video. Raises what `prepare`, `make` and `write` raise."""
        return self.write(self.make(prepare(self.settings, request)))

    def prepare(self, request: TransferRequest) -> Sample:
        """Read the videos of a request that was checked, and compute the controls that it lacks.

        In a thread of its own, while another video is made: on a CPU they share the cores.

        Raises:
            GuardrailBlocked: a prompt was refused, so that nothing is computed for it.
            InputError: a video cannot be read.
        """
        for prompt in prompts_of(request):
            self.guardrails.check_prompt(prompt)
        with cores.taken(self.models.device):
            return read_sample(self.settings, request)

    @property
    def team(self) -> Team:
        """The processes that this pipeline works with."""
        return self.models.team

    @torch.inference_mode()
    def make(self, sample: Sample) -> Made:
        """Make the frames of one video out of a prepared sample.

        Raises:
            GuardrailBlocked: the prompt or the video was refused.
            InputError: the sample has a control whose branch is not loaded.
        """
        files = weight_paths(self.settings, sample.request).controls
        missing = [control.name for control in sample.controls if files[control.name] not in self.models.branches]
        if missing:
            raise InputError(f"the loaded model has no branch for {', '.join(missing)}.", where="controls")
        not_run = self._say_what_does_not_run()
        seconds: dict[str, float] = {}
        with timed("total", seconds), cores.at_work(self.models.device):
            with timed("check_prompt", seconds):
                prompt = self._checked_prompt(sample)
                for region in sample.regions:
                    self.guardrails.check_prompt(region.prompt)
            frames_FHWC = self.models.stages.run(lambda: self._frames(sample, prompt, seconds))
            with timed("check_video", seconds):
                frames_FHWC = self.guardrails.check_video(frames_FHWC)
        return Made(sample, frames_FHWC, prompt, seconds, not_run)

    def _frames(self, sample: Sample, prompt: str, seconds: dict[str, float]) -> np.ndarray:
        files = weight_paths(self.settings, sample.request).controls
        with timed("encode_text", seconds):
            texts = self._encode_texts(sample, prompt)
        branches = [self.models.branches[files[control.name]] for control in sample.controls]
        return Generation(self.models, sample, branches, texts, seconds).frames()

    def _checked_prompt(self, sample: Sample) -> str:
        frames = {control.name: control.frames_FHWC for control in sample.controls}
        shown = choose_control(list(frames))
        if self.refiners and shown is None:
            output.notice("the prompt upsampler looks at vis, edge, seg or depth; the prompt is used as given")
        return checked_prompt(
            sample.request.prompt,
            frames[shown or sample.controls[0].name],
            self.guardrails,
            self.refiners if shown else {},
            way_out="Leave out --upsample-prompt.",
        )

    def _encode_texts(self, sample: Sample, prompt: str) -> Texts:
        request, device, dtype = sample.request, self.models.device, self.models.dtype
        text, negative = encode_prompts(self.text_encoder, prompt, request.negative_prompt, device, dtype)
        regions: list[Tensor] = []
        for region in sample.regions:
            regions.append(self.text_encoder.encode(region.prompt)[0].to(device, dtype))
        return Texts(text, negative, tuple(regions))

    def _say_what_does_not_run(self) -> list[str]:
        """Name the stages that do not take part, and why; the user must not believe otherwise."""
        not_run = []
        if self.guardrails.gap:
            not_run.append(self.guardrails.gap)
        for line in not_run:
            output.notice(line)
        if self.settings.model_size == "tiny":
            output.notice("the tiny model has random weights: the video shows noise")
        return not_run

    def write(self, made: Made, watch: Watch | None = None) -> TransferResult:
        """Write the files of a video; the sidecar comes last, so it vouches for the others.

        Of several processes that made it together, one writes.

        Args:
            watch: what was planned, to stand in the sidecar beside what it took.
        """
        with timed("write", made.seconds), cores.taken(self.models.device):
            if self.team.is_writer:
                self._write_media(made)
        made.seconds["total"] += made.seconds["write"]
        sample = made.sample
        request, paths = sample.request, output_paths(sample.request)
        result = TransferResult(
            video=paths["video"],
            sidecar=paths["sidecar"],
            preview=paths.get("preview"),
            controls={key.removeprefix("control:"): str(p) for key, p in paths.items() if key.startswith("control:")},
            num_frames=len(made.frames_FHWC),
            height=made.frames_FHWC.shape[1],
            width=made.frames_FHWC.shape[2],
            fps=request.fps,
            num_chunks=len(plan_chunks(sample.num_frames, request.num_input_frames)),
            seconds={stage: round(value, 3) for stage, value in made.seconds.items()},
            not_run=made.not_run,
        )
        files = weight_paths(self.settings, request)
        named = {"base": files.base, "tokenizer": files.tokenizer, "text_encoder": files.text_encoder}
        document = {
            "command": "cosmos transfer run",
            # to make a video again must not mean to replace one
            "request": request_document(self.settings, request.model_copy(update={"overwrite": False})),
            "prompt_used": made.prompt,
            "result": result.document(),
            "checked_by": self.guardrails.names,
            "notices": output.notices(),
            "weights": provenance.weights({**named, **files.controls}),
            "environment": provenance.environment(self.models.device, self.models.dtype),
            "parallel": str(self.team.layout),
        }
        if watch is not None:
            document |= watch.finish(made.seconds)
        if self.team.is_writer:
            write_json(paths["sidecar"], document)
        return result

    def _write_media(self, made: Made) -> None:
        sample, request, paths = made.sample, made.sample.request, output_paths(made.sample.request)
        write_video(paths["video"], made.frames_FHWC, request.fps)
        write_computed(sample, paths)
        if "preview" in paths:
            rows = [*preview_rows(sample), (f"output, seed {request.seed}", made.frames_FHWC)]
            write_png(paths["preview"], contact_sheet(made.prompt, rows))


def prompts_of(request: TransferRequest) -> list[str]:
    """All that a request wants to show; what it does not want may name anything."""
    return [request.prompt, *(region.prompt for region in request.regional_prompts)]


def _load_refiners(settings: TransferSettings, controls: list[str], device: torch.device) -> dict[str, Refiner]:
    """What rewrites prompts: the server asked for, else what another package brings, else the published model."""
    if not settings.upsample_prompt:
        return {}
    if settings.upsampler_url is not None:
        assert settings.upsampler_model is not None
        return {settings.upsampler_model: PromptUpsampler.on_server(settings.upsampler_url, settings.upsampler_model)}
    offload = settings.offload_prompt_upsampler
    installed = registry.current().create_extensions(
        "prompt_refiners",
        device=str(device),
        offload=offload,
        checkpoint_dir=settings.checkpoint_dir,
        settings=settings,
    )
    control = choose_control(controls)
    if installed or control is None:
        return installed
    with output.progress("Loading the prompt upsampler"):
        upsampler = PromptUpsampler.from_folder(
            settings.checkpoint_dir,
            control,
            device=device,
            dtype=torch.bfloat16,  # as published: twice that would not fit most machines
            offload=offload,
        )
    return {"Cosmos-UpsamplePrompt1": upsampler}


def write_computed(sample: Sample, paths: Mapping[str, Path]) -> None:
    """Write the control videos and the pictures of weight maps that were made out of the input video."""
    for control in sample.controls:
        if (path := paths.get(f"control:{control.name}")) is not None:
            write_video(path, control.frames_FHWC, sample.request.fps)
        if (path := paths.get(f"weight:{control.name}")) is not None:
            write_video(path, map_frames_of(control, sample.height, sample.width), sample.request.fps)


def preview_rows(sample: Sample) -> Iterator[tuple[str, np.ndarray]]:
    """Titles and frames of what a sample starts from: the input, the controls and their weight maps."""
    if sample.frames_FHWC is not None:
        yield "input", sample.frames_FHWC
    for control in sample.controls:
        if isinstance(control.weight, float):
            yield f"{control.name}, weight {control.weight:g}", control.frames_FHWC
        else:
            yield control.name, control.frames_FHWC
            yield f"{control.name}, weight map", map_frames_of(control, sample.height, sample.width)
