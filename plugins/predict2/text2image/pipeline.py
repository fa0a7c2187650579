"""Text2Image: load once, generate many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch

from cosmos_cli import output
from cosmos_cli.diffusion.rectified_flow import Velocity, first_frames
from cosmos_cli.generation.plan import Watch
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.image import write_png
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.runtime.devices import choose_device_and_dtype
from cosmos_cli.runtime.files import replacing
from cosmos_cli.runtime.timing import timed
from cosmos_plugins.predict2.denoise import decode, sample, sample_distilled
from cosmos_plugins.predict2.memory import DIT, TOKENIZER
from cosmos_plugins.predict2.networks import Asked, Loaded, checked_guardrails, load_model
from cosmos_plugins.predict2.records import say_what_does_not_run, write_sidecar
from cosmos_plugins.predict2.text2image.inputs import JPEG_SUFFIXES, Sample, output_paths, prepare, weight_paths
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.variants import DISTILLED_SIGMAS, TEXT2IMAGE

# B batch, C latent channels, T latent frames, H and W height and width; L text tokens, D embedding width

JPEG_QUALITY = 85


@dataclass(frozen=True)
class Text2ImageResult:
    """What was written, and how long its stages took.

    seconds: stage to wall time in seconds.
    not_run: stages that other plugins would bring and that did not take part.
    """

    image: Path
    sidecar: Path
    height: int
    width: int
    seconds: dict[str, float]
    not_run: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line for people."""
        return f"{self.image}  ({self.width}x{self.height}, {self.seconds['total']:.1f} s)"

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Made:
    """A finished picture that is not yet on disk, (H, W, 3) uint8."""

    sample: Sample
    image_HWC: np.ndarray
    seconds: dict[str, float]
    not_run: list[str]


class Text2ImagePipeline:
    """A loaded Predict2 Text2Image model.

    >>> pipeline = Text2ImagePipeline.load(Text2ImageSettings(model_size="tiny"))
    >>> pipeline(Text2ImageRequest(prompt="A bus in the rain.", save_path="bus.png"))
    """

    def __init__(self, settings: Text2ImageSettings, loaded: Loaded[MinimalDiT]) -> None:
        self.settings, self.loaded = settings, loaded
        self.dit, self.vae, self.stages, self.team = loaded.dit, loaded.vae, loaded.stages, loaded.team
        self.guardrails, self.device, self.dtype = loaded.guardrails, loaded.device, loaded.dtype

    @classmethod
    def load(
        cls, settings: Text2ImageSettings, samples: Sequence[Sample] = (), guardrails: Guardrails | None = None
    ) -> Text2ImagePipeline:
        """Load the DiT and the tokenizer; the text encoder follows when a prompt is not in the cache.

        Args:
            samples: what it will make, from which several GPUs choose how to share the work.
            guardrails: those of `checked_guardrails`, if the prompts have been checked.

        Raises:
            GuardrailBlocked: the prompts of all are refused; nothing is loaded.
            CheckpointError: weights are missing, damaged or of another network.
            InputError: the device or the attention backend is not to be had.
        """
        device, dtype = choose_device_and_dtype(settings)
        variant, weights = TEXT2IMAGE[settings.model_size], weight_paths(settings)
        guardrails = guardrails or checked_guardrails(settings, [sample.request.prompt for sample in samples])
        largest = max(variant.sizes.values(), key=math.prod)
        wants_guidance = any(sample.request.guidance for sample in samples) or not samples
        config = variant.dit
        loaded = load_model(
            settings,
            weights,
            guardrails,
            config,
            lambda: MinimalDiT(config, settings.attention),
            variant.vae,
            Asked(
                size_px=(1, *largest),
                num_items=len(samples) or 1,
                guided=wants_guidance and not settings.distill_steps,
            ),
            device=device,
            dtype=dtype,
            ema=settings.load_ema,
        )
        return cls(settings, loaded)

    def __call__(self, request: Text2ImageRequest) -> Text2ImageResult:
        """Make one picture. Raises what `prepare` and `make` raise."""
        return self.write(self.make(prepare(self.settings, request)))

    @torch.inference_mode()
    def make(self, sample: Sample) -> Made:
        """Make one prepared picture.

        Raises:
            GuardrailBlocked: the prompt or the picture was refused.
        """
        not_run = say_what_does_not_run(self.settings, self.guardrails, shows="the picture shows noise")
        if self.settings.use_cuda_graphs:
            output.notice("--use-cuda-graphs has no effect")
        seconds: dict[str, float] = {}
        with timed("total", seconds):
            with timed("check_prompt", seconds):
                self.guardrails.check_prompt(sample.request.prompt)
            frames_FHWC = self.stages.run(lambda: self._frames(sample, seconds))
            with timed("check_picture", seconds):
                image_HWC = self.guardrails.check_video(frames_FHWC)[0]
        return Made(sample, image_HWC, seconds, not_run)

    def _frames(self, wanted: Sample, seconds: dict[str, float]) -> np.ndarray:
        """The picture as a clip of one frame, (1, H, W, 3) uint8."""
        request = wanted.request
        with timed("encode_text", seconds):
            context_BLD, negative_BLD = self.loaded.encode_prompts(request.prompt, request.negative_prompt)
        with timed("denoise", seconds), self.stages.at_work(DIT):
            factor = self.vae.spatial_factor
            shape = (1, self.vae.config.z_dim, 1, wanted.height // factor, wanted.width // factor)
            nothing_given = first_frames(torch.zeros(shape, device=self.device), 0)
            velocity = self._velocity(context_BLD, shape)
            if self.settings.distill_steps:
                sigmas = DISTILLED_SIGMAS[: self.settings.distill_steps]
                latents = sample_distilled(velocity, nothing_given, sigmas, seed=request.seed, dtype=self.dtype)
            else:
                latents = sample(
                    velocity,
                    self._velocity(negative_BLD, shape) if request.guidance else None,
                    nothing_given,
                    guidance=request.guidance,
                    guidance_group=self.team.guidance_group,
                    num_steps=request.num_steps,
                    seed=request.seed,
                    dtype=self.dtype,
                )
        with timed("decode", seconds), self.stages.at_work(TOKENIZER):
            return decode(self.vae, latents)

    def _velocity(self, context_BLD: torch.Tensor, shape: tuple[int, ...]) -> Velocity:
        """The network under one text."""
        _, patch_h, patch_w = self.dit.config.patch_THW
        text = self.dit.encode_text(context_BLD)
        rope = self.dit.rotary_table((1, shape[3] // patch_h, shape[4] // patch_w))
        return lambda x_BCTHW, timesteps_BT: self.dit(x_BCTHW, timesteps_BT, text, rope=rope)

    def write(self, made: Made, watch: Watch | None = None) -> Text2ImageResult:
        """Write the picture and its sidecar, which comes last, so it vouches for the picture.

        Args:
            watch: what was planned, to stand in the sidecar beside what it took.
        """
        sample, seconds = made.sample, made.seconds
        paths = output_paths(sample.request)
        with timed("write", seconds):
            if self.team.is_writer:
                write_image(paths["image"], made.image_HWC)
        seconds["total"] += seconds["write"]
        result = Text2ImageResult(
            image=paths["image"],
            sidecar=paths["sidecar"],
            height=sample.height,
            width=sample.width,
            seconds={stage: round(value, 3) for stage, value in seconds.items()},
            not_run=made.not_run,
        )
        write_sidecar(
            paths["sidecar"],
            "cosmos predict2 text2image",
            self.settings,
            sample.request,
            self.loaded,
            result=result.document(),
            weights=vars(weight_paths(self.settings)),
            compared=watch.finish(seconds) if watch else {},
        )
        return result


def write_image(path: Path, image_HWC: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as the JPEG or PNG that the name says, whole or not at all."""
    if path.suffix.lower() not in JPEG_SUFFIXES:
        write_png(path, image_HWC)
        return
    with replacing(path) as temporary:
        iio.imwrite(temporary, image_HWC, plugin="pillow", extension=".jpg", quality=JPEG_QUALITY)
