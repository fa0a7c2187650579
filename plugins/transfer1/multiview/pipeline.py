"""Transfer to several cameras: load once, generate many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmos_cli import output
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.rectified_flow import Conditioning
from cosmos_cli.diffusion.res_sampler import sample_res
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.diffusion.view_conditioning import given_views
from cosmos_cli.errors import InputError
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.frames import to_frames_truncated, to_video
from cosmos_cli.media.image import write_png
from cosmos_cli.media.preview import contact_sheet
from cosmos_cli.media.video import write_video
from cosmos_cli.models.cosmos_tokenizer import ChunkedTokenizer
from cosmos_cli.models.multiview_control_branch import MultiViewControlBranch
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.models.prompts import encode_prompts
from cosmos_cli.models.t5 import CachedTextEncoder
from cosmos_cli.requests import request_document
from cosmos_cli.runtime import provenance
from cosmos_cli.runtime.budget import PARKED, RESIDENT
from cosmos_cli.runtime.devices import choose_place
from cosmos_cli.runtime.files import write_json
from cosmos_cli.runtime.offload import on_device
from cosmos_cli.runtime.timing import timed
from cosmos_plugins.transfer1.chunks import Chunk, take
from cosmos_plugins.transfer1.denoiser import ControlledDenoiser, Hint
from cosmos_plugins.transfer1.multiview.cameras import Camera, cameras_of, full_prompt
from cosmos_plugins.transfer1.multiview.inputs import Paths, Sample, output_paths, prepare, weight_paths
from cosmos_plugins.transfer1.multiview.mosaic import mosaic_frames
from cosmos_plugins.transfer1.multiview.networks import load_base, load_branch
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.multiview.variants import CLIP_FRAMES, MULTIVIEW_VARIANTS, Kind
from cosmos_plugins.transfer1.networks import checked_guardrails, load_chunked_tokenizer
from cosmos_plugins.transfer1.variants import VARIANTS
from cosmos_plugins.transfer1.weights import normalise_numbers

# B batch, V views, C latent channels, T latent frames of all views, F pixel frames of one, H and W height and width
# L text tokens, D embedding width

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
FRONT = 0
"""The view that is given whole."""


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


class MultiviewPipeline:
    """A loaded model with the control branches of one request; it serves every request with these.

    >>> request = MultiviewRequest(controls={"hdmap": {"input_control": maps}}, view_condition_video="front.mp4")
    >>> MultiviewPipeline.load(MultiviewSettings(model_size="tiny"), request)(request)
    """

    def __init__(
        self,
        settings: MultiviewSettings,
        kind: Kind,
        paths: Paths,
        base: MultiViewDiT,
        branches: Mapping[str, MultiViewControlBranch],
        tokenizer: ChunkedTokenizer,
        text_encoder: CachedTextEncoder,
        guardrails: Guardrails,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.settings, self.kind, self.paths, self.base, self.branches = settings, kind, paths, base, dict(branches)
        self.tokenizer, self.text_encoder, self.guardrails = tokenizer, text_encoder, guardrails
        self.device, self.dtype = device, dtype

    @classmethod
    def load(cls, settings: MultiviewSettings, request: MultiviewRequest) -> MultiviewPipeline:
        """Load the base for this kind of request, the tokenizer and the branches of its controls.

        Raises:
            CheckpointError: weights are missing, damaged or of another network.
            InputError: the device or the attention backend is not to be had.
        """
        device, dtype = choose_place(settings)
        variant, paths = MULTIVIEW_VARIANTS[settings.model_size], weight_paths(settings, request)
        cameras = cameras_of(settings.waymo_example)
        guardrails = checked_guardrails(settings, [[_scene(prompts_of(cameras, request))]])
        common: dict[str, Any] = {"dtype": dtype, "device": device}
        resident = torch.device("cpu") if settings.offload_diffusion_transformer else device
        network: dict[str, Any] = {"dtype": dtype, "device": resident, "attention": settings.attention}
        with output.progress(f"Loading {settings.model_size} for {len(cameras)} cameras on {device}"):
            base = load_base(paths.base, variant, len(cameras), **network)
            branches = {
                name: load_branch(path, variant, len(cameras), **network) for name, path in paths.controls.items()
            }
            tokenizer = load_chunked_tokenizer(
                paths.tokenizer, VARIANTS[settings.model_size], chunk_frames=CLIP_FRAMES, **common
            )
        text_encoder = CachedTextEncoder(
            paths.text_encoder,
            settings.cache_folder / "text-embeddings",
            dtype=torch.float32,
            device=device,
            residence=PARKED if settings.offload_text_encoder_model else RESIDENT,
            on_load=lambda: output.status("Loading the text encoder"),
        )
        return cls(settings, request.kind, paths, base, branches, tokenizer, text_encoder, guardrails, **common)

    def __call__(self, request: MultiviewRequest) -> MultiviewResult:
        """Film one scene. Raises what `prepare` and `generate` raise."""
        return self.generate(prepare(self.settings, request))

    @torch.inference_mode()
    def generate(self, sample: Sample) -> MultiviewResult:
        """Film one prepared scene and write its files.

        Raises:
            GuardrailBlocked: the prompts or the videos were refused; nothing is written.
            InputError: the sample needs the model of the other kind, or a control whose branch is not loaded.
        """
        request = sample.request
        if request.kind != self.kind:
            raise InputError(
                f"the loaded model is {self.kind}, but this request needs {request.kind}.",
                where="initial_condition_video",
            )
        missing = [control.name for control in sample.controls if control.name not in self.branches]
        if missing:
            raise InputError(f"the loaded model has no branch for {', '.join(missing)}.", where="controls")
        not_run = self._say_what_does_not_run(sample)
        prompts = prompts_of(sample.cameras, request)
        seconds: dict[str, float] = {}
        with timed("total", seconds):
            with timed("check_prompt", seconds):
                self.guardrails.check_prompt(_scene(prompts))
            with timed("encode_text", seconds):
                text = self._encode_text(prompts)
            frames_VFHWC = self._make_clips(sample, text, seconds)
            with timed("check_video", seconds):
                checked = self.guardrails.check_video(frames_VFHWC.reshape(-1, *frames_VFHWC.shape[2:]))
                frames_VFHWC = checked.reshape(frames_VFHWC.shape)
            with timed("write", seconds):
                self._write_media(sample, frames_VFHWC, prompts)
        return self._finish(sample, frames_VFHWC, prompts, seconds, not_run)

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

    def _encode_text(self, prompts: list[str]) -> Tensor:
        """Contexts of all prompts, one after the other, (1, V * L, D)."""
        contexts = [encode_prompts(self.text_encoder, prompt, "", self.device, self.dtype)[0] for prompt in prompts]
        return torch.cat(contexts, dim=1)

    def _make_clips(self, sample: Sample, text_BLD: Tensor, seconds: dict[str, float]) -> np.ndarray:
        """All views, clip by clip, (V, F, H, W, 3) uint8."""
        made: list[np.ndarray] = []
        for clip in sample.clips:
            previous = made[-1][:, -clip.num_shared :] if made else sample.initial_VFHWC
            with timed("encode", seconds):
                hints = self._encode_hints(sample, clip)
                conditioning = self._condition(sample, clip, previous)
            with timed("denoise", seconds):
                latents = self._denoise(sample, clip, hints, conditioning, text_BLD)
            with timed("decode", seconds):
                made.append(self._decode(latents, len(sample.cameras)))
        return np.concatenate([made[0], *(frames[:, sample.clips[0].num_shared :] for frames in made[1:])], axis=1)

    def _encode_hints(self, sample: Sample, clip: Chunk) -> list[Hint]:
        weights = normalise_numbers([control.weight for control in sample.controls]).tolist()
        return [
            Hint(self.branches[control.name], self._encode_views(control.frames_VFHWC, clip), weight)
            for control, weight in zip(sample.controls, weights, strict=True)
        ]

    def _encode_views(self, frames_VFHWC: np.ndarray, clip: Chunk) -> Tensor:
        """Latents of every view's part in a clip, one view after the other, (1, C, T, H, W)."""
        views = (to_video(take(view_FHWC, clip), self.device, self.dtype) for view_FHWC in frames_VFHWC)
        return torch.cat([self.tokenizer.encode(video) for video in views], dim=2)

    def _condition(self, sample: Sample, clip: Chunk, previous_VFHWC: np.ndarray | None) -> Conditioning:
        """What is given of a clip: the whole front view, and of every view the frames that it shares.

        The encoder is causal, so encoding the shared frames alone equals encoding them with any filler behind. Unlike
        the controls, given frames are brought to [-1, 1] in float32, as in the originals.
        """
        tokenizer, num_views, num_given = self.tokenizer, len(sample.cameras), 0
        front = tokenizer.encode(to_video(take(sample.front_FHWC, clip), self.device, torch.float32))
        latents_VCTHW = torch.zeros_like(front, dtype=self.dtype).repeat(num_views, 1, 1, 1, 1)
        if previous_VFHWC is not None:
            for latents_CTHW, frames_FHWC in zip(latents_VCTHW, previous_VFHWC, strict=True):
                video = to_video(frames_FHWC, self.device, torch.float32)
                [given_CTHW] = tokenizer.normalise(tokenizer.network.encode(video).to(video.dtype))
                num_given = given_CTHW.shape[1]
                latents_CTHW[:, :num_given] = given_CTHW
        latents_VCTHW[FRONT] = front[0]
        latents_BCTHW = torch.cat(latents_VCTHW.split(1), dim=2)
        return given_views(latents_BCTHW, num_views, num_frames=num_given, whole_views=(FRONT,))

    def _denoise(
        self, sample: Sample, clip: Chunk, hints: list[Hint], conditioning: Conditioning, text_BLD: Tensor
    ) -> Tensor:
        """The sampling loop of one clip; returns clean latents of all views, float32."""
        request = sample.request
        noise = arch_invariant_noise(conditioning.latents_BCTHW.shape, request.seed + clip.number).to(self.device)
        sigmas = karras_sigmas(request.num_steps, SIGMA_MIN, SIGMA_MAX)
        with (
            on_device(
                [self.base, *self.branches.values()], self.device, offload=self.settings.offload_diffusion_transformer
            ),
            output.progress(f"Denoising clip {clip.number + 1},", request.num_steps) as advance,
        ):
            denoiser = ControlledDenoiser(
                self.base,
                hints,
                text_BLD,
                torch.zeros_like(text_BLD),
                guidance=request.guidance,
                fps=request.fps,
                conditioning=conditioning,
                noise_BCTHW=noise,
                sigma_augment=0.0,
                view_indices_V=torch.tensor([camera.view_index for camera in sample.cameras]),
                dtype=self.dtype,
            )
            return sample_res(denoiser, noise * SIGMA_MAX, sigmas, lambda *_: advance())

    def _decode(self, latents_BCTHW: Tensor, num_views: int) -> np.ndarray:
        """Pixels of one clip, (V, F, H, W, 3) uint8."""
        frames = np.concatenate([to_frames_truncated(video) for video in self.tokenizer.decode_chunks(latents_BCTHW)])
        return frames.reshape(num_views, -1, *frames.shape[1:])

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

    def _finish(
        self,
        sample: Sample,
        frames_VFHWC: np.ndarray,
        prompts: list[str],
        seconds: dict[str, float],
        not_run: list[str],
    ) -> MultiviewResult:
        """Write the sidecar, which comes last, so it vouches for the other files."""
        request, paths = sample.request, output_paths(sample.request)
        names = [camera.name for camera in sample.cameras]
        _, num_frames, height, width, _ = frames_VFHWC.shape
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
            num_clips=len(sample.clips),
            seconds={stage: round(value, 3) for stage, value in seconds.items()},
            not_run=not_run,
        )
        named = {"base": self.paths.base, "tokenizer": self.paths.tokenizer, "text_encoder": self.paths.text_encoder}
        document = {
            "command": "cosmos transfer multiview",
            # to make a video again must not mean to replace one
            "request": request_document(self.settings, request.model_copy(update={"overwrite": False})),
            "prompts_used": dict(zip(names, prompts, strict=True)),
            "result": result.document(),
            "checked_by": self.guardrails.names,
            "notices": output.notices(),
            "weights": provenance.weights({**named, **self.paths.controls}),
            "environment": provenance.environment(self.device, self.dtype),
        }
        write_json(paths["sidecar"], document)
        return result


def prompts_of(cameras: Sequence[Camera], request: MultiviewRequest) -> list[str]:
    """The prompt of every camera, as its network reads it."""
    return [full_prompt(camera, getattr(request, camera.field)) for camera in cameras]


def _scene(prompts: Sequence[str]) -> str:
    """All prompts as one text, which is how they are checked."""
    return ". ".join(prompts)
