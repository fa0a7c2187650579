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
from cosmos_cli.diffusion.ab2 import Denoiser
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.rectified_flow import Conditioning, first_frames
from cosmos_cli.diffusion.res_sampler import sample_res
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.errors import InputError
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.frames import to_frames_truncated, to_video
from cosmos_cli.media.image import write_png
from cosmos_cli.media.preview import contact_sheet
from cosmos_cli.media.video import write_video
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.cosmos_tokenizer import ChunkedTokenizer
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.prompts import checked_prompt, encode_prompts
from cosmos_cli.models.t5 import CachedTextEncoder
from cosmos_cli.requests import request_document
from cosmos_cli.runtime import provenance
from cosmos_cli.runtime.devices import choose_device, choose_dtype
from cosmos_cli.runtime.files import write_json
from cosmos_cli.runtime.timing import timed
from cosmos_plugins.transfer1.chunks import Chunk, plan_chunks, take
from cosmos_plugins.transfer1.denoiser import ControlledDenoiser, Hint, TiledDenoiser
from cosmos_plugins.transfer1.inputs import Paths, Sample, output_paths, prepare, weight_paths
from cosmos_plugins.transfer1.networks import load_base, load_branch, load_chunked_tokenizer
from cosmos_plugins.transfer1.requests import PURE_NOISE_SIGMA, TransferRequest, TransferSettings
from cosmos_plugins.transfer1.variants import CHUNK_FRAMES, VARIANTS
from cosmos_plugins.transfer1.weights import has_maps, normalise_maps, normalise_numbers, stretch_time, to_patch_grid

# B batch, C latent channels, T latent frames, F pixel frames, H and W height and width
# L text tokens, D embedding width

SIGMA_MIN = 0.002


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


class TransferPipeline:
    """A loaded Transfer1 model with the control branches of one request; it serves every request with these.

    >>> request = TransferRequest(controls={"edge": {}}, input_video_path="street.mp4", video_save_folder="out")
    >>> TransferPipeline.load(TransferSettings(model_size="tiny"), request)(request)
    """

    def __init__(
        self,
        settings: TransferSettings,
        paths: Paths,
        base: GeneralDiT,
        branches: Mapping[str, ControlBranch],
        tokenizer: ChunkedTokenizer,
        text_encoder: CachedTextEncoder,
        guardrails: Guardrails,
        refiners: Mapping[str, Any],
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.settings, self.paths, self.base, self.branches = settings, paths, base, dict(branches)
        self.tokenizer, self.text_encoder = tokenizer, text_encoder
        self.guardrails, self.refiners, self.device, self.dtype = guardrails, dict(refiners), device, dtype

    @classmethod
    def load(cls, settings: TransferSettings, request: TransferRequest) -> TransferPipeline:
        """Load the base, the tokenizer and the branches of the request's controls.

        Raises:
            CheckpointError: weights are missing, damaged or of another network.
            InputError: the device or the attention backend is not to be had.
        """
        device = choose_device(settings.device)
        dtype = choose_dtype(settings.precision, device)
        variant, paths = VARIANTS[settings.model_size], weight_paths(settings, request)
        installed = registry.current()
        guardrails = installed.create_extensions(
            "guardrails", device=str(device), offload=settings.offload_guardrail_models
        )
        refiners: dict[str, Any] = {}
        if settings.upsample_prompt:
            refiners = installed.create_extensions(
                "prompt_refiners", device=str(device), offload=settings.offload_prompt_upsampler
            )
        common: dict[str, Any] = {"dtype": dtype, "device": device}
        network = {**common, "driving": settings.is_av_sample, "attention": settings.attention}
        with output.progress(f"Loading {settings.model_size} with {', '.join(paths.controls)} on {device}"):
            base = load_base(paths.base, variant, **network)
            branches = {name: load_branch(path, variant, **network) for name, path in paths.controls.items()}
            tokenizer = load_chunked_tokenizer(paths.tokenizer, variant, **common)
        text_encoder = CachedTextEncoder(
            paths.text_encoder,
            (settings.cache_dir or Path("~/.cache/cosmos-cli").expanduser()) / "text-embeddings",
            dtype=torch.float32,
            device=device,
            offload=settings.offload_text_encoder_model,
            on_load=lambda: output.status("Loading the text encoder"),
        )
        return cls(settings, paths, base, branches, tokenizer, text_encoder, Guardrails(guardrails), refiners, **common)

    def __call__(self, request: TransferRequest) -> TransferResult:
        """Make one video. Raises what `prepare` and `generate` raise."""
        return self.generate(prepare(self.settings, request))

    @torch.inference_mode()
    def generate(self, sample: Sample) -> TransferResult:
        """Make one video out of a prepared sample and write its files.

        Raises:
            GuardrailBlocked: the prompt or the video was refused; nothing is written.
            InputError: the sample has a control whose branch is not loaded.
        """
        missing = [control.name for control in sample.controls if control.name not in self.branches]
        if missing:
            raise InputError(f"the loaded model has no branch for {', '.join(missing)}.", where="controls")
        request = sample.request
        not_run = self._say_what_does_not_run()
        seconds: dict[str, float] = {}
        with timed("total", seconds):
            shown = sample.frames_FHWC if sample.frames_FHWC is not None else sample.controls[0].frames_FHWC
            with timed("check_prompt", seconds):
                prompt = checked_prompt(
                    request.prompt, shown, self.guardrails, self.refiners, way_out="Leave out --upsample-prompt."
                )
            with timed("encode_text", seconds):
                text, negative = encode_prompts(
                    self.text_encoder, prompt, request.negative_prompt, self.device, self.dtype
                )
            frames_FHWC = self._make_chunks(sample, text, negative, seconds)
            with timed("check_video", seconds):
                frames_FHWC = self.guardrails.check_video(frames_FHWC)
            with timed("write", seconds):
                self._write_media(sample, frames_FHWC, prompt)
        return self._finish(sample, frames_FHWC, prompt, seconds, not_run)

    def _say_what_does_not_run(self) -> list[str]:
        """Name the stages that do not take part, and why; the user must not believe otherwise."""
        settings, not_run = self.settings, []
        if not self.guardrails.names:
            not_run.append("guardrail: none is installed, prompt and video are not checked")
        if settings.upsample_prompt and not self.refiners:
            not_run.append("prompt upsampler: none is installed, the prompt is used as given")
        for line in not_run:
            output.notice(line)
        if settings.model_size == "tiny":
            output.notice("the tiny model has random weights: the video shows noise")
        return not_run

    def _make_chunks(
        self, sample: Sample, text_BLD: Tensor, negative_BLD: Tensor, seconds: dict[str, float]
    ) -> np.ndarray:
        """The whole video, chunk by chunk, (F, H, W, 3) uint8, as long as the sample."""
        chunks = plan_chunks(sample.num_frames, sample.request.num_input_frames)
        if len(chunks) > 1 or sample.num_frames < chunks[-1].stop:
            output.notice(
                f"{sample.num_frames} frames are made in {len(chunks)} chunk(s) of {chunks[0].stop}; inputs are padded "
                "with their last frame, and the video is cut back"
            )
        made: list[np.ndarray] = []
        for chunk in chunks:
            previous = made[-1][-chunk.num_shared :] if chunk.num_shared else None
            with timed("encode", seconds):
                hints = self._encode_hints(sample, chunk)
                start, sigma_max = self._start(sample, chunk, hints[0].latents_BCTHW.shape)
                conditioning = self._condition(previous, start)
            with timed("denoise", seconds):
                latents = self._denoise(
                    sample.request, chunk, hints, start, sigma_max, conditioning, text_BLD, negative_BLD
                )
            with timed("decode", seconds):
                made.append(self._decode(latents))
        parts = [frames[chunk.num_shared :] for frames, chunk in zip(made, chunks, strict=True)]
        return np.concatenate(parts)[: sample.num_frames]

    def _encode_hints(self, sample: Sample, chunk: Chunk) -> list[Hint]:
        return [
            Hint(self.branches[control.name], self._encode(take(control.frames_FHWC, chunk)), weight)
            for control, weight in zip(sample.controls, self._weights(sample, chunk), strict=True)
        ]

    def _weights(self, sample: Sample, chunk: Chunk) -> list[float] | list[Tensor]:
        """What each control weighs in a chunk: numbers, or maps (1, 1, T, H/2, W/2) once one of them is a map."""
        weights = [control.weight for control in sample.controls]
        if not has_maps(weights):
            numbers: list[float] = normalise_numbers(weights).tolist()
            return numbers
        parts = [
            take(stretch_time(weight, sample.num_frames), chunk)
            if isinstance(weight, np.ndarray) and weight.ndim == 3
            else weight
            for weight in weights
        ]
        maps = normalise_maps(parts, CHUNK_FRAMES, sample.height, sample.width)
        _, patch_h, patch_w = self.base.config.patch_THW
        factor = self.tokenizer.network.config.spatial_compression
        grid = (self.tokenizer.chunk_latents, sample.height // factor // patch_h, sample.width // factor // patch_w)
        return list(to_patch_grid(maps, grid).to(self.device, self.dtype))

    def _encode(self, frames_FHWC: np.ndarray) -> Tensor:
        """Latents of a whole chunk of frames, (1, C, T, H, W)."""
        return self.tokenizer.encode(to_video(frames_FHWC, self.device, self.dtype))

    def _start(self, sample: Sample, chunk: Chunk, shape: torch.Size) -> tuple[Tensor, float]:
        """The latents that denoising starts from, and their noise level."""
        request, seed = sample.request, sample.request.seed + chunk.number
        if sample.frames_FHWC is None:
            return arch_invariant_noise(shape, seed).to(self.device) * PURE_NOISE_SIGMA, PURE_NOISE_SIGMA
        latents = self._encode(take(sample.frames_FHWC, chunk))
        # on the CPU, so that the video does not depend on the device; in the network's dtype, as the originals start
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(shape, generator=generator).to(self.device, self.dtype)
        return latents + noise * request.sigma_max, request.sigma_max

    def _condition(self, previous_FHWC: np.ndarray | None, start_BCTHW: Tensor) -> Conditioning | None:
        """The frames carried over from the chunk before, as latents; None for the first chunk and networks without.

        The encoder is causal, so encoding these frames alone equals encoding them with any filler behind.
        """
        if previous_FHWC is None or not self.base.config.condition_mask:
            return None
        video = to_video(previous_FHWC, self.device, self.dtype)
        given = self.tokenizer.normalise(self.tokenizer.network.encode(video).to(video.dtype))
        latents = torch.zeros_like(start_BCTHW, dtype=self.dtype)
        latents[:, :, : given.shape[2]] = given
        return first_frames(latents, given.shape[2])

    def _denoise(
        self,
        request: TransferRequest,
        chunk: Chunk,
        hints: Sequence[Hint],
        start_BCTHW: Tensor,
        sigma_max: float,
        conditioning: Conditioning | None,
        text_BLD: Tensor,
        negative_BLD: Tensor,
    ) -> Tensor:
        """The sampling loop of one chunk; returns clean latents in the dtype of the start."""
        denoiser: Denoiser = ControlledDenoiser(
            self.base,
            hints,
            text_BLD,
            negative_BLD,
            guidance=request.guidance,
            fps=request.fps,
            conditioning=conditioning,
            noise_BCTHW=arch_invariant_noise(start_BCTHW.shape, request.seed + chunk.number).to(self.device),
            dtype=self.dtype,
        )
        if self.base.config.condition_mask:
            denoiser = TiledDenoiser([denoiser], *start_BCTHW.shape[-2:])
        sigmas = karras_sigmas(request.num_steps, SIGMA_MIN, sigma_max)
        with output.progress(f"Denoising chunk {chunk.number + 1},", request.num_steps) as advance:
            return sample_res(denoiser, start_BCTHW, sigmas, lambda *_: advance())

    def _decode(self, latents_BCTHW: Tensor) -> np.ndarray:
        """Pixels of one chunk, (F, H, W, 3) uint8."""
        return np.concatenate([to_frames_truncated(video) for video in self.tokenizer.decode_chunks(latents_BCTHW)])

    def _write_media(self, sample: Sample, frames_FHWC: np.ndarray, prompt: str) -> None:
        request, paths = sample.request, output_paths(sample.request)
        write_video(paths["video"], frames_FHWC, request.fps)
        for control in sample.controls:
            if control.is_computed:
                write_video(paths[f"control:{control.name}"], control.frames_FHWC, request.fps)
        if "preview" in paths:
            write_png(paths["preview"], contact_sheet(prompt, list(self._preview_rows(sample, frames_FHWC))))

    def _preview_rows(self, sample: Sample, frames_FHWC: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        if sample.frames_FHWC is not None:
            yield "input", sample.frames_FHWC
        for control in sample.controls:
            if isinstance(control.weight, float):
                yield f"{control.name}, weight {control.weight:g}", control.frames_FHWC
            else:
                yield control.name, control.frames_FHWC
                yield f"{control.name}, weight map", _map_picture(control.weight)
        yield f"output, seed {sample.request.seed}", frames_FHWC

    def _finish(
        self, sample: Sample, frames_FHWC: np.ndarray, prompt: str, seconds: dict[str, float], not_run: list[str]
    ) -> TransferResult:
        """Write the sidecar, which comes last, so it vouches for the other files."""
        request, paths = sample.request, output_paths(sample.request)
        result = TransferResult(
            video=paths["video"],
            sidecar=paths["sidecar"],
            preview=paths.get("preview"),
            controls={
                name.removeprefix("control:"): str(p) for name, p in paths.items() if name.startswith("control:")
            },
            num_frames=len(frames_FHWC),
            height=sample.height,
            width=sample.width,
            fps=request.fps,
            num_chunks=len(plan_chunks(sample.num_frames, request.num_input_frames)),
            seconds={stage: round(value, 3) for stage, value in seconds.items()},
            not_run=not_run,
        )
        named = {"base": self.paths.base, "tokenizer": self.paths.tokenizer, "text_encoder": self.paths.text_encoder}
        document = {
            "command": "cosmos transfer run",
            # to make a video again must not mean to replace one
            "request": request_document(self.settings, request.model_copy(update={"overwrite": False})),
            "prompt_used": prompt,
            "result": result.document(),
            "checked_by": self.guardrails.names,
            "notices": output.notices(),
            "weights": provenance.weights({**named, **self.paths.controls}),
            "environment": provenance.environment(self.device, self.dtype),
        }
        write_json(paths["sidecar"], document)
        return result


def _map_picture(weight: np.ndarray) -> np.ndarray:
    """A weight map as grey frames, white for 1."""
    maps_FHW = weight if weight.ndim == 3 else weight[None]
    grey = (maps_FHW.clip(0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)
