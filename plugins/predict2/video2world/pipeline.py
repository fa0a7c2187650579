"""Video2World: load once, generate many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from cosmos_cli import output, registry
from cosmos_cli.checkpoints.lora import merge_lora
from cosmos_cli.diffusion.ab2 import sample_ab2
from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.rectified_flow import Conditioning, denoise, first_frames
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.generation.plan import Watch
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.frames import to_video
from cosmos_cli.media.image import write_png
from cosmos_cli.media.preview import contact_sheet
from cosmos_cli.media.video import write_video
from cosmos_cli.models.configs import NeighborhoodConfig
from cosmos_cli.models.minimal_dit import EncodedText, MinimalDiT
from cosmos_cli.models.prompts import Refiner, checked_prompt
from cosmos_cli.requests import request_document
from cosmos_cli.runtime import provenance
from cosmos_cli.runtime.devices import choose_device_and_dtype, cores
from cosmos_cli.runtime.files import digest, write_json
from cosmos_cli.runtime.timing import timed
from cosmos_cli.runtime.workers.mesh import in_halves
from cosmos_plugins.predict2.denoise import decode
from cosmos_plugins.predict2.memory import DIT, TOKENIZER
from cosmos_plugins.predict2.networks import Asked, Loaded, checked_guardrails, load_model
from cosmos_plugins.predict2.refiner import WAY_OUT, load_refiner
from cosmos_plugins.predict2.requests import Video2WorldRequest, Video2WorldSettings
from cosmos_plugins.predict2.variants import SPARSE_PATTERNS, VARIANTS
from cosmos_plugins.predict2.video2world.inputs import Sample, output_paths, prepare, read, resolution_of, weight_paths
from cosmos_plugins.predict2.video2world.long_video import make_chunks

# B batch, C latent channels, T latent frames, F pixel frames, H and W height and width
# L text tokens, D embedding width

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
NUM_BENCHMARK_RUNS = 4


@dataclass(frozen=True)
class Video2WorldResult:
    """What was written, and how long its stages took.

    seconds: stage to wall time in seconds.
    not_run: stages that other plugins would bring and that did not take part.
    """

    video: Path
    sidecar: Path
    preview: Path | None
    num_frames: int
    height: int
    width: int
    fps: int
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

    frames_FHWC: (F, height, width, 3) uint8. prompts: what was used in the end for each chunk.
    """

    sample: Sample
    frames_FHWC: np.ndarray
    prompts: list[str]
    seconds: dict[str, float]
    not_run: list[str]


class Video2WorldPipeline:
    """A loaded Predict2 Video2World model.

    >>> pipeline = Video2WorldPipeline.load(Video2WorldSettings(model_size="tiny"))
    >>> pipeline(Video2WorldRequest(input_path="street.jpg", prompt="The bus drives off.", save_path="out.mp4"))
    """

    def __init__(
        self,
        settings: Video2WorldSettings,
        loaded: Loaded[MinimalDiT],
        refiners: dict[str, Any],
    ) -> None:
        self.settings, self.loaded, self.refiners = settings, loaded, refiners
        self.dit, self.vae, self.stages, self.team = loaded.dit, loaded.vae, loaded.stages, loaded.team
        self.guardrails, self.device, self.dtype = loaded.guardrails, loaded.device, loaded.dtype

    @classmethod
    def load(
        cls,
        settings: Video2WorldSettings,
        requests: Sequence[Video2WorldRequest] = (),
        guardrails: Guardrails | None = None,
    ) -> Video2WorldPipeline:
        """Load the DiT and the tokenizer; the text encoder follows when a prompt is not in the cache.

        Args:
            requests: what it will be asked, from which several GPUs choose how to share the work.
            guardrails: those of `checked_guardrails`, if the prompts have been checked.

        Raises:
            GuardrailBlocked: the prompts of all requests are refused; nothing is loaded.
            CheckpointError: weights are missing, damaged or of another network.
            InputError: the device or the attention backend is not to be had.
        """
        device, dtype = choose_device_and_dtype(settings)
        variant, paths = VARIANTS[settings.model_size], weight_paths(settings)
        guardrails = guardrails or checked_guardrails(settings, [request.prompt for request in requests])
        refiners = _load_refiners(settings, device)  # before the DiT, so that damage shows early
        config = variant.dit

        def merge(dit: MinimalDiT) -> None:
            if paths.lora is not None:
                merge_lora(dit, paths.lora, alpha=settings.lora_alpha, ema=settings.load_ema)

        largest = max(variant.sizes[resolution_of(settings)].values(), key=math.prod)
        loaded = load_model(
            settings,
            paths,
            guardrails,
            config,
            lambda: MinimalDiT(config, settings.attention, _neighborhoods(settings)),
            variant.vae,
            Asked(
                size_px=(variant.num_frames[settings.fps], *largest),
                num_items=len(requests) or 1,
                guided=any(request.guidance for request in requests) or not requests,
            ),
            device=device,
            dtype=dtype,
            ema=settings.load_ema and settings.lora_path is None,
            finish=merge,
        )
        return cls(settings, loaded, refiners)

    def __call__(self, request: Video2WorldRequest) -> Video2WorldResult:
        """Make one video. Raises what `prepare`, `make` and `write` raise."""
        return self.write(self.make(prepare(self.settings, request)))

    def prepare(self, request: Video2WorldRequest) -> Sample:
        """Read the input of a request that was checked; in a thread of its own, while another video is made."""
        with cores.taken(self.device):
            return read(self.settings, request)

    @torch.inference_mode()
    def make(self, sample: Sample) -> Made:
        """Make the frames of one video out of a prepared sample.

        Raises:
            GuardrailBlocked: the prompt or the video was refused.
        """
        not_run = self._say_what_does_not_run()
        # the first benchmark run warms up: kernels are chosen and the text embedding is cached
        num_runs = NUM_BENCHMARK_RUNS if sample.request.benchmark else 1
        totals: list[float] = []
        for _ in range(num_runs):
            seconds: dict[str, float] = {}
            with timed("total", seconds), cores.at_work(self.device):
                frames_FHWC, prompts = make_chunks(
                    sample, sample.request.num_chunks, partial(self._make_chunk, seconds=seconds)
                )
            totals.append(seconds["total"])
        if sample.request.benchmark:
            seconds["benchmark_mean"] = sum(totals[1:]) / (num_runs - 1)
            output.notice(
                f"benchmark: {seconds['benchmark_mean']:.2f} s, mean of {num_runs - 1} runs after one discarded"
            )
        return Made(sample, frames_FHWC, prompts, seconds, not_run)

    def _make_chunk(self, sample: Sample, seconds: dict[str, float]) -> tuple[np.ndarray, str]:
        """The checked frames of one chunk, (F, H, W, 3) uint8, and the prompt that was used in the end."""
        request = sample.request
        with timed("check_prompt", seconds):
            prompt = checked_prompt(request.prompt, sample.source_FHWC, self.guardrails, self.refiners, way_out=WAY_OUT)
        frames_FHWC = self.stages.run(lambda: self._frames(sample, prompt, seconds))
        with timed("check_video", seconds):
            return self.guardrails.check_video(frames_FHWC), prompt

    def _frames(self, sample: Sample, prompt: str, seconds: dict[str, float]) -> np.ndarray:
        """The frames of one chunk, unchecked."""
        request = sample.request
        with timed("encode_text", seconds):
            context, negative = self.loaded.encode_prompts(prompt, request.negative_prompt)
        with timed("encode_frames", seconds), self.stages.at_work(TOKENIZER):
            conditioning = self._condition(sample)
        with timed("denoise", seconds), self.stages.at_work(DIT):
            latents = self._denoise(conditioning, context, negative, request)
        with timed("decode", seconds), self.stages.at_work(TOKENIZER):
            return decode(self.vae, latents)[: sample.num_frames]

    def _say_what_does_not_run(self) -> list[str]:
        """Name the stages that do not take part, and why; the user must not believe otherwise."""
        settings, not_run = self.settings, []
        if self.guardrails.gap:
            not_run.append(self.guardrails.gap)
        if settings.disable_prompt_refiner:
            not_run.append("prompt refiner: disabled, the prompt is used as given")
        elif not self.refiners:
            not_run.append("prompt refiner: none is installed, the prompt is used as given")
        for line in not_run:
            output.notice(line)
        if settings.use_cuda_graphs:
            output.notice("--use-cuda-graphs has no effect")
        if settings.model_size == "tiny":
            output.notice("the tiny model has random weights: frames after the given ones show noise")
        return not_run

    def _condition(self, sample: Sample) -> Conditioning:
        """Latents of the given frames at the head of a clip of full length.

        The encoder is causal, so encoding the given frames alone equals encoding them with any filler behind.
        """
        given = self.vae.encode(to_video(sample.frames_FHWC, self.device, self.dtype)).float()
        B, C, num_given, H, W = given.shape
        num_latents = max(num_given, math.ceil((sample.num_frames - 1) / self.vae.temporal_factor) + 1)
        latents = given.new_zeros(B, C, num_latents, H, W)
        latents[:, :, :num_given] = given
        return first_frames(latents, num_given)

    def _denoise(
        self, conditioning: Conditioning, context_BLD: Tensor, negative_BLD: Tensor, request: Video2WorldRequest
    ) -> Tensor:
        """The whole sampling loop in latent space; returns clean latents, B C T H W float32."""
        shape = conditioning.latents_BCTHW.shape
        sigmas = karras_sigmas(request.num_steps, SIGMA_MIN, SIGMA_MAX)
        noise = arch_invariant_noise(shape, request.seed).to(self.device) * SIGMA_MAX
        denoiser = Denoiser(
            self.dit, conditioning, context_BLD, negative_BLD, request.guidance, self.dtype, self.team.guidance_group
        )
        with output.progress("Denoising", request.num_steps) as advance:

            def on_step(*_: object) -> None:
                advance()
                cores.share()

            return sample_ab2(denoiser, noise, sigmas, on_step=on_step)

    def write(self, made: Made, watch: Watch | None = None) -> Video2WorldResult:
        """Write the video, its sidecar and the preview; the sidecar comes last, so it vouches for the others.

        Of several processes that made it together, one writes.

        Args:
            watch: what was planned, to stand in the sidecar beside what it took.
        """
        sample, seconds = made.sample, made.seconds
        request, paths = sample.request, output_paths(sample.request)
        with timed("write", seconds), cores.taken(self.device):
            if self.team.is_writer:
                self._write_media(made, paths)
        seconds["total"] += seconds["write"]
        result = Video2WorldResult(
            video=paths["video"],
            sidecar=paths["sidecar"],
            preview=paths.get("preview"),
            num_frames=len(made.frames_FHWC),
            height=sample.height,
            width=sample.width,
            fps=self.settings.fps,
            seconds={stage: round(value, 3) for stage, value in seconds.items()},
            not_run=made.not_run,
        )
        document = self._sidecar(request, made.prompts, result)
        if watch is not None:
            document |= watch.finish(seconds)
        if self.team.is_writer:
            write_json(paths["sidecar"], document)
        return result

    def _write_media(self, made: Made, paths: Mapping[str, Path]) -> None:
        write_video(paths["video"], made.frames_FHWC, self.settings.fps)
        if "preview" in paths:
            title = f"output, seed {made.sample.request.seed}"
            rows = [("input", made.sample.frames_FHWC), (title, made.frames_FHWC)]
            write_png(paths["preview"], contact_sheet(made.prompts[0], rows))

    def _sidecar(self, request: Video2WorldRequest, prompts: list[str], result: Video2WorldResult) -> dict[str, Any]:
        """How the video was made; `--from-file` makes it again from the part under "request"."""
        return {
            "command": "cosmos predict2 video2world",
            # to make a video again must not mean to replace one
            "request": request_document(self.settings, request.model_copy(update={"overwrite": False})),
            # frames that another model made need not lie in a file
            "input_sha256": digest(request.input_path) if request.input_path.is_file() else None,
            "prompt_used": prompts[0],
            "prompts_of_chunks": prompts,
            "refined_by": list(self.refiners)[:1],
            "result": result.document(),
            "checked_by": self.guardrails.names,
            "notices": output.notices(),
            "weights": provenance.weights({k: p for k, p in vars(weight_paths(self.settings)).items() if p}),
            "environment": provenance.environment(self.device, self.dtype),
            "parallel": str(self.team.layout),
        }


def _load_refiners(settings: Video2WorldSettings, device: torch.device) -> dict[str, Refiner]:
    """What rewrites prompts: the server asked for, else what another package brings, else Cosmos-Reason1."""
    if settings.disable_prompt_refiner:
        return {}
    offload = settings.offload_prompt_refiner
    if settings.refiner_url is None:
        installed = registry.current().create_extensions(
            "prompt_refiners",
            device=str(device),
            offload=offload,
            checkpoint_dir=settings.checkpoint_dir,
            settings=settings,
        )
        if installed or settings.model_size == "tiny":
            return installed
    with output.progress("Loading the prompt refiner"):
        refiner = load_refiner(
            settings.checkpoint_dir,
            device=device,
            offload=offload,
            url=settings.refiner_url,
            model=settings.refiner_model,
        )
    return {refiner.name: refiner}


class Denoiser:
    """The guided x0 prediction of one generation: what is constant over its steps is computed here, once.

    Args:
        context_BLD: text embedding of the prompt, in the network's dtype.
        negative_BLD: of what to guide away from.
        guidance_group: two processes that share the halves of guidance; None for one that computes both.
    """

    def __init__(
        self,
        dit: MinimalDiT,
        conditioning: Conditioning,
        context_BLD: Tensor,
        negative_BLD: Tensor,
        guidance: float,
        dtype: torch.dtype,
        guidance_group: ProcessGroup | None = None,
    ) -> None:
        self._guidance_group = guidance_group
        _, _, T, H, W = conditioning.latents_BCTHW.shape
        _, patch_h, patch_w = dit.config.patch_THW
        self._dit, self._conditioning, self._dtype, self._guidance = dit, conditioning, dtype, guidance
        self._text = dit.encode_text(context_BLD)
        self._negative = dit.encode_text(negative_BLD) if guidance else None
        self._rope = dit.rotary_table((T, H // patch_h, W // patch_w))
        self._mask = conditioning.mask_B1T11.expand(-1, -1, -1, H, W).to(dtype)

    def __call__(self, x_BCTHW: Tensor, sigma: Tensor) -> Tensor:
        """x0 at noise level sigma, float32; without guidance the network runs once instead of twice."""
        negative = self._negative
        if negative is None:
            return self._x0(x_BCTHW, sigma, self._text)
        halves = in_halves(
            lambda: self._x0(x_BCTHW, sigma, self._text),
            lambda: self._x0(x_BCTHW, sigma, negative),
            self._guidance_group,
        )
        return guide(*halves, self._guidance)

    def _x0(self, x_BCTHW: Tensor, sigma: Tensor, text: EncodedText) -> Tensor:
        def velocity(x: Tensor, timesteps_BT: Tensor) -> Tensor:
            return self._dit(x, timesteps_BT, text, condition_mask_B1THW=self._mask, rope=self._rope)

        return denoise(velocity, x_BCTHW, sigma, self._conditioning, dtype=self._dtype)


def _neighborhoods(settings: Video2WorldSettings) -> list[NeighborhoodConfig | None] | None:
    if not settings.natten:
        return None
    return [
        None if pattern == "-" else SPARSE_PATTERNS[pattern] for pattern in VARIANTS[settings.model_size].sparse_layers
    ]
