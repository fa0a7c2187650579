"""Several cameras: load once, generate many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmos_cli import output
from cosmos_cli.diffusion.rectified_flow import Conditioning, Velocity
from cosmos_cli.diffusion.view_conditioning import given_views
from cosmos_cli.generation.plan import Watch
from cosmos_cli.media.frames import to_video
from cosmos_cli.media.image import write_png
from cosmos_cli.media.preview import contact_sheet
from cosmos_cli.media.video import write_video
from cosmos_cli.models.minimal_multiview_dit import MinimalMultiviewDiT
from cosmos_cli.runtime.devices import choose_device_and_dtype
from cosmos_cli.runtime.timing import timed
from cosmos_plugins.predict2.denoise import decode, sample
from cosmos_plugins.predict2.memory import DIT, TOKENIZER
from cosmos_plugins.predict2.multiview.inputs import Sample, output_paths, prepare, weight_paths
from cosmos_plugins.predict2.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.predict2.networks import Asked, Loaded, checked_guardrails, load_model
from cosmos_plugins.predict2.records import say_what_does_not_run, write_sidecar
from cosmos_plugins.predict2.variants import MAX_VIEWS, MULTIVIEW, VIEW_FPS, VIEW_FRAMES

# B batch, V views, C latent channels, T latent frames of all views, t of one, H and W height and width
# F pixel frames of one view; L text tokens, D embedding width

SIGMA_MIN, SIGMA_MAX = 0.01, 200.0


@dataclass(frozen=True)
class MultiviewResult:
    """What was written, and how long its stages took.

    num_frames, height, width: of each view.
    seconds: stage to wall time in seconds.
    not_run: stages that other plugins would bring and that did not take part.
    """

    video: Path
    sidecar: Path
    preview: Path | None
    num_views: int
    num_frames: int
    height: int
    width: int
    fps: int
    seconds: dict[str, float]
    not_run: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line for people."""
        size = f"{self.num_views} views of {self.num_frames} frames, {self.width}x{self.height}, {self.fps} fps"
        return f"{self.video}  ({size}, {self.seconds['total']:.1f} s)"

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Made:
    """A finished scene that is not yet on disk, (V, F, H, W, 3) uint8."""

    sample: Sample
    frames_VFHWC: np.ndarray
    seconds: dict[str, float]
    not_run: list[str]


class MultiviewPipeline:
    """A loaded Predict2 Multiview model.

    >>> pipeline = MultiviewPipeline.load(MultiviewSettings(model_size="tiny"))
    >>> pipeline(MultiviewRequest(input_path="cameras", prompt="The car turns left.", save_path="out.mp4"))
    """

    def __init__(self, settings: MultiviewSettings, loaded: Loaded[MinimalMultiviewDiT]) -> None:
        self.settings, self.loaded = settings, loaded
        self.dit, self.vae, self.stages, self.team = loaded.dit, loaded.vae, loaded.stages, loaded.team
        self.guardrails, self.device, self.dtype = loaded.guardrails, loaded.device, loaded.dtype

    @classmethod
    def load(cls, settings: MultiviewSettings, samples: Sequence[Sample] = ()) -> MultiviewPipeline:
        """Load the DiT and the tokenizer; the text encoder follows when a prompt is not in the cache.

        Args:
            samples: what it will make, from which several GPUs choose how to share the work.

        Raises:
            GuardrailBlocked: the prompts of all are refused; nothing is loaded.
            CheckpointError: weights are missing, damaged or of another network.
            InputError: the device or the attention backend is not to be had.
        """
        device, dtype = choose_device_and_dtype(settings)
        variant, weights = MULTIVIEW[settings.model_size], weight_paths(settings)
        guardrails = checked_guardrails(settings, [sample.prompt for sample in samples])

        [size_px] = variant.sizes.values()
        config = variant.dit
        loaded = load_model(
            settings,
            weights,
            guardrails,
            config,
            lambda: MinimalMultiviewDiT(config, settings.attention),
            variant.vae,
            Asked(
                size_px=(VIEW_FRAMES, *size_px),
                num_items=len(samples) or 1,
                guided=any(sample.request.guidance for sample in samples) or not samples,
                num_clips=max((sample.request.n_views for sample in samples), default=MAX_VIEWS),
            ),
            device=device,
            dtype=dtype,
            ema=settings.load_ema,
        )
        return cls(settings, loaded)

    def __call__(self, request: MultiviewRequest) -> MultiviewResult:
        """Make one scene. Raises what `prepare` and `make` raise."""
        return self.write(self.make(prepare(self.settings, request)))

    @torch.inference_mode()
    def make(self, sample: Sample) -> Made:
        """Make one prepared scene.

        Raises:
            GuardrailBlocked: the prompt or the video was refused.
        """
        shows = "frames after the given ones show noise"
        not_run = say_what_does_not_run(self.settings, self.guardrails, shows=shows)
        if self.settings.use_cuda_graphs:
            output.notice("--use-cuda-graphs has no effect")
        seconds: dict[str, float] = {}
        with timed("total", seconds):
            with timed("check_prompt", seconds):
                self.guardrails.check_prompt(sample.prompt)
            frames_VFHWC = self.stages.run(lambda: self._frames(sample, seconds))
            with timed("check_video", seconds):
                checked = self.guardrails.check_video(frames_VFHWC.reshape(-1, *frames_VFHWC.shape[2:]))
        return Made(sample, checked.reshape(frames_VFHWC.shape), seconds, not_run)

    def _frames(self, wanted: Sample, seconds: dict[str, float]) -> np.ndarray:
        request = wanted.request
        with timed("encode_text", seconds):
            context, negative = self.loaded.encode_prompts(wanted.prompt, request.negative_prompt)
        with timed("encode_frames", seconds), self.stages.at_work(TOKENIZER):
            conditioning = self.condition(wanted)
        with timed("denoise", seconds), self.stages.at_work(DIT):
            latents = sample(
                self._velocity(of_first_view(context, request.n_views), conditioning),
                self._velocity(of_first_view(negative, request.n_views), conditioning) if request.guidance else None,
                conditioning,
                guidance=request.guidance,
                guidance_group=self.team.guidance_group,
                num_steps=request.num_steps,
                seed=request.seed,
                dtype=self.dtype,
                sigma_min=SIGMA_MIN,
                sigma_max=SIGMA_MAX,
            )
        with timed("decode", seconds), self.stages.at_work(TOKENIZER):
            # every view is a clip of its own to the tokenizer
            return np.stack([decode(self.vae, view) for view in latents.chunk(request.n_views, dim=2)])

    def condition(self, sample: Sample) -> Conditioning:
        """Latents of the given frames at the head of every view.

        The encoder is causal, so encoding the given frames alone equals encoding them with any filler behind.
        """
        num_views, factor = sample.request.n_views, self.vae.spatial_factor
        shape_VCtHW = (
            num_views,
            self.vae.config.z_dim,
            self.dit.config.state_t,
            sample.height // factor,
            sample.width // factor,
        )
        latents_VCtHW = torch.zeros(shape_VCtHW, device=self.device)
        num_given = 0
        if sample.given_VFHWC.shape[1]:
            for latents_CtHW, frames_FHWC in zip(latents_VCtHW, sample.given_VFHWC, strict=True):
                [given_CtHW] = self.vae.encode(to_video(frames_FHWC, self.device, self.dtype)).float()
                num_given = given_CtHW.shape[1]
                latents_CtHW[:, :num_given] = given_CtHW
        latents_BCTHW = torch.cat(latents_VCtHW.split(1), dim=2)
        return given_views(latents_BCTHW, num_views, num_frames=num_given)

    def _velocity(self, context_BVLD: Tensor, conditioning: Conditioning) -> Velocity:
        """The network under the texts of all views."""
        _, _, T, H, W = conditioning.latents_BCTHW.shape
        _, patch_h, patch_w = self.dit.config.patch_THW
        mask_B1THW = conditioning.mask_B1T11.expand(-1, -1, -1, H, W).to(self.dtype)
        text = self.dit.encode_text(context_BVLD)
        rope = self.dit.rotary_table((T, H // patch_h, W // patch_w), fps=VIEW_FPS)
        return lambda x, timesteps: self.dit(x, timesteps, text, condition_mask_B1THW=mask_B1THW, rope=rope)

    def write(self, made: Made, watch: Watch | None = None) -> MultiviewResult:
        """Write the video, the preview and the sidecar, which comes last, so it vouches for the others.

        Args:
            watch: what was planned, to stand in the sidecar beside what it took.
        """
        sample, seconds = made.sample, made.seconds
        request, paths = sample.request, output_paths(sample.request)
        with timed("write", seconds):
            if self.team.is_writer:
                _write_media(made, paths)
        seconds["total"] += seconds["write"]
        num_views, num_frames, height, width, _ = made.frames_VFHWC.shape
        result = MultiviewResult(
            video=paths["video"],
            sidecar=paths["sidecar"],
            preview=paths.get("preview"),
            num_views=num_views,
            num_frames=num_frames,
            height=height,
            width=width,
            fps=VIEW_FPS,
            seconds={stage: round(value, 3) for stage, value in seconds.items()},
            not_run=made.not_run,
        )
        write_sidecar(
            paths["sidecar"],
            "cosmos predict2 multiview",
            self.settings,
            # a prompt out of a file that may change is kept as it was
            request.model_copy(update={"prompt": sample.prompt}),
            self.loaded,
            result=result.document(),
            weights=vars(weight_paths(self.settings)),
            compared=watch.finish(seconds) if watch else {},
        )
        return result


def _write_media(made: Made, paths: Mapping[str, Path]) -> None:
    write_video(paths["video"], stacked(made.frames_VFHWC), VIEW_FPS)
    if "preview" in paths:
        write_png(paths["preview"], contact_sheet(made.sample.prompt, list(_preview_rows(made))))


def of_first_view(context_BLD: Tensor, num_views: int) -> Tensor:
    """The text of the first view, and none for the others, (B, V, L, D)."""
    nothing_BVLD = torch.zeros_like(context_BLD)[:, None].expand(-1, num_views - 1, -1, -1)
    return torch.cat([context_BLD[:, None], nothing_BVLD], dim=1)


def stacked(frames_VFHWC: np.ndarray) -> Iterator[np.ndarray]:
    """Each frame with the views one below the other, (V H, W, 3)."""
    for views_VHWC in frames_VFHWC.swapaxes(0, 1):
        yield views_VHWC.reshape(-1, *views_VHWC.shape[2:])


def _preview_rows(made: Made) -> Iterator[tuple[str, np.ndarray]]:
    for view, (given_FHWC, frames_FHWC) in enumerate(zip(made.sample.given_VFHWC, made.frames_VFHWC, strict=True)):
        if len(given_FHWC):
            yield f"view {view}, input", given_FHWC
        yield f"view {view}, output, seed {made.sample.request.seed}", frames_FHWC
