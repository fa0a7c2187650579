"""Several cameras: load once, generate many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmos_cli.diffusion.rectified_flow import Conditioning
from cosmos_cli.diffusion.view_conditioning import given_views
from cosmos_cli.generation.pipeline import Generated
from cosmos_cli.generation.record import VideoResult
from cosmos_cli.generation.settings import TOKENIZER, negative_prompt_of
from cosmos_cli.generation.steps import Clock
from cosmos_cli.media.frames import to_video
from cosmos_cli.media.preview import Row
from cosmos_cli.runtime.finite import check_given
from cosmos_plugins.predict2.denoise import decode
from cosmos_plugins.predict2.multiview import inputs
from cosmos_plugins.predict2.multiview.inputs import Sample
from cosmos_plugins.predict2.multiview.networks import networks
from cosmos_plugins.predict2.pipeline import Predict2Pipeline
from cosmos_plugins.predict2.variants import VIEW_FPS

# B batch, V views, C latent channels, T latent frames of all views, t of one, H and W height and width
# F pixel frames of one view; L text tokens, D embedding width

SIGMA_MIN, SIGMA_MAX = 0.01, 200.0


@dataclass(frozen=True, kw_only=True)
class MultiviewResult(VideoResult):
    """A scene that was written. num_frames, height, width: of each view."""

    num_views: int

    def _size(self) -> str:
        return f"{self.num_views} views of {super()._size()}"


class MultiviewPipeline(Predict2Pipeline[Sample, MultiviewResult]):
    """A loaded Predict2 Multiview model.

    >>> pipeline = MultiviewPipeline.load(MultiviewSettings(model_size="tiny"))
    >>> pipeline(MultiviewRequest(input_path="cameras", prompt="The car turns left.", save_path="out.mp4"))
    """

    inputs = inputs
    command = "cosmos predict2 multiview"
    build_networks = staticmethod(networks)
    tiny_note = "has random weights: frames after the given ones show noise"

    def frames(self, sample: Sample, prompt: str, clock: Clock) -> np.ndarray:
        request = sample.request
        with clock("encode_text"):
            texts = self.models.encode_prompts(prompt, negative_prompt_of(self.settings, request))
        with clock("encode_frames"), self.stages.at_work(TOKENIZER):
            given = self.condition(sample)
        context, negative = (of_first_view(text, request.n_views) for text in texts)
        latents = self.denoise(
            given, context, negative, request, clock, fps=VIEW_FPS, sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX
        )
        with clock("decode"), self.stages.at_work(TOKENIZER):
            # every view is a clip of its own to the tokenizer
            return np.stack([decode(self.models.tokenizer, view) for view in latents.chunk(request.n_views, dim=2)])

    def condition(self, sample: Sample) -> Conditioning:
        """Latents of the given frames at the head of every view.

        The encoder is causal, so encoding the given frames alone equals encoding them with any filler behind.
        """
        num_views, factor = sample.request.n_views, self.models.tokenizer.spatial_factor
        shape_VCtHW = (
            num_views,
            self.models.tokenizer.config.z_dim,
            self.models.dit.config.state_t,
            *(size // factor for size in sample.given_VFHWC.shape[2:4]),
        )
        latents_VCtHW = torch.zeros(shape_VCtHW, device=self.device)
        num_given = 0
        if sample.given_VFHWC.shape[1]:
            for latents_CtHW, frames_FHWC in zip(latents_VCtHW, sample.given_VFHWC, strict=True):
                [given_CtHW] = self.models.tokenizer.encode(to_video(frames_FHWC, self.device, self.dtype)).float()
                num_given = given_CtHW.shape[1]
                latents_CtHW[:, :num_given] = given_CtHW
        latents_BCTHW = torch.cat(latents_VCtHW.split(1), dim=2)
        check_given(latents_BCTHW)
        return given_views(latents_BCTHW, num_views, num_frames=num_given)

    def result(self, generated: Generated[Sample], **common: Any) -> MultiviewResult:
        num_views = len(generated.frames)
        return MultiviewResult.of(generated.frames, generated.sample.outputs, VIEW_FPS, num_views=num_views, **common)

    def write_media(self, generated: Generated[Sample]) -> None:
        self.write_video(generated, stacked(generated.frames), VIEW_FPS, _preview_rows(generated))


def of_first_view(context_BLD: Tensor, num_views: int) -> Tensor:
    """The text of the first view, and none for the others, (B, V, L, D)."""
    nothing_BVLD = torch.zeros_like(context_BLD)[:, None].expand(-1, num_views - 1, -1, -1)
    return torch.cat([context_BLD[:, None], nothing_BVLD], dim=1)


def stacked(frames_VFHWC: np.ndarray) -> Iterator[np.ndarray]:
    """Each frame with the views one below the other, (V H, W, 3)."""
    for views_VHWC in frames_VFHWC.swapaxes(0, 1):
        yield views_VHWC.reshape(-1, *views_VHWC.shape[2:])


def _preview_rows(generated: Generated[Sample]) -> Iterator[Row]:
    sample = generated.sample
    for view, (given_FHWC, frames_FHWC) in enumerate(zip(sample.given_VFHWC, generated.frames, strict=True)):
        if len(given_FHWC):
            yield Row(f"view {view}, input", given_FHWC, sample.first_given[view])
        yield Row(f"view {view}, output, seed {sample.request.seed}", frames_FHWC)
