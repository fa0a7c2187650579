"""Text2Image: load once, generate many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cosmos_cli.diffusion.rectified_flow import first_frames
from cosmos_cli.files.writing import replacing
from cosmos_cli.generation.pipeline import Generated
from cosmos_cli.generation.record import PictureResult
from cosmos_cli.generation.settings import DIT, TOKENIZER, negative_prompt_of
from cosmos_cli.generation.steps import Clock
from cosmos_cli.media.image import write_png
from cosmos_plugins.predict2.denoise import decode, sample_distilled, velocity_under
from cosmos_plugins.predict2.pipeline import Predict2Pipeline
from cosmos_plugins.predict2.text2image import inputs
from cosmos_plugins.predict2.text2image.inputs import JPEG_SUFFIXES, Sample
from cosmos_plugins.predict2.text2image.networks import networks
from cosmos_plugins.predict2.variants import DISTILLED_SIGMAS

JPEG_QUALITY = 85


class Text2ImagePipeline(Predict2Pipeline[Sample, PictureResult]):
    """A loaded Predict2 Text2Image model.

    >>> pipeline = Text2ImagePipeline.load(Text2ImageSettings(model_size="tiny"))
    >>> pipeline(Text2ImageRequest(prompt="A bus in the rain.", save_path="bus.png"))
    """

    inputs = inputs
    command = "cosmos predict2 text2image"
    build_networks = staticmethod(networks)
    tiny_note = "has random weights: the picture shows noise"
    check_stage = "check_picture"

    def frames(self, sample: Sample, prompt: str, clock: Clock) -> np.ndarray:
        request, vae = sample.request, self.models.tokenizer
        with clock("encode_text"):
            context, negative = self.models.encode_prompts(prompt, negative_prompt_of(self.settings, request))
        size = (sample.height // vae.spatial_factor, sample.width // vae.spatial_factor)
        nothing_given = first_frames(torch.zeros(1, vae.config.z_dim, 1, *size, device=self.device), 0)
        if self.settings.distill_steps:
            with clock("denoise"), self.stages.at_work(DIT):
                velocity = velocity_under(self.models.dit, context, nothing_given, self.dtype)
                sigmas = DISTILLED_SIGMAS[: self.settings.distill_steps]
                latents = sample_distilled(velocity, nothing_given, clock, sigmas, seed=request.seed, dtype=self.dtype)
        else:
            latents = self.denoise(nothing_given, context, negative, request, clock)
        with clock("decode"), self.stages.at_work(TOKENIZER):
            return decode(vae, latents)

    def result(self, generated: Generated[Sample], **common: Any) -> PictureResult:
        sample = generated.sample
        return PictureResult(image=sample.outputs["image"], height=sample.height, width=sample.width, **common)

    def write_media(self, generated: Generated[Sample]) -> None:
        write_image(generated.sample.outputs["image"], generated.frames[0])


def write_image(path: Path, image_HWC: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as the JPEG or PNG that the name says, whole or not at all."""
    if path.suffix.lower() not in JPEG_SUFFIXES:
        write_png(path, image_HWC)
        return
    with replacing(path) as temporary:
        Image.fromarray(image_HWC).save(temporary, format="JPEG", quality=JPEG_QUALITY)
