"""What all cameras of a car see: load once, generate many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmos_cli import output
from cosmos_cli.diffusion.rectified_flow import Conditioning
from cosmos_cli.diffusion.view_conditioning import given_views
from cosmos_cli.errors import InputError
from cosmos_cli.files.writing import replacing
from cosmos_cli.generation.denoise import Side, guided_network, sample_latents
from cosmos_cli.generation.given import encode_given
from cosmos_cli.generation.load import Models, load_models
from cosmos_cli.generation.mosaic import mosaic_frames
from cosmos_cli.generation.networks import networks
from cosmos_cli.generation.pipeline import Generated, Pipeline
from cosmos_cli.generation.record import VideoResult
from cosmos_cli.generation.settings import DIT, TOKENIZER, guidance_of
from cosmos_cli.generation.steps import Clock
from cosmos_cli.generation.variants import Kind
from cosmos_cli.generation.weights import WEIGHTS
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.frames import to_frames_truncated
from cosmos_cli.media.preview import Row
from cosmos_cli.media.video import write_video
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.runtime.finite import check_given
from cosmos_plugins.predict1_multiview.multiview import inputs
from cosmos_plugins.predict1_multiview.multiview.cameras import frame_repeats
from cosmos_plugins.predict1_multiview.multiview.network import check_kind, network_of
from cosmos_plugins.predict1_multiview.multiview.requests import NOTHING_SAID, MultiviewRequest, MultiviewSettings
from cosmos_plugins.predict1_multiview.multiview.samples import Sample, weight_paths
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW

# V views, F frames of one, H and W height and width; B batch, C latent channels, T latent frames of all views
# L text tokens, D embedding width

FRONT = 0


@dataclass(frozen=True, kw_only=True)
class MultiviewResult(VideoResult):
    """A scene that was written.

    video: the views one after the other. grid: all of them in one picture. prompts: of the cameras, one a line.
    cameras: names of the views, in order. num_frames: of each view.
    """

    grid: Path
    prompts: Path
    cameras: list[str]

    def _size(self) -> str:
        return f"{len(self.cameras)} views of {super()._size()}"


class MultiviewPipeline(Pipeline[Sample, MultiviewResult]):
    """A loaded model of one kind, Text2World or Video2World; it serves every request of that kind.

    >>> request = MultiviewRequest(prompt="A street in the rain.", input_image_or_video_path="six_views.mp4")
    >>> MultiviewPipeline.load(MultiviewSettings(model_size="tiny"), [request])(request)
    """

    inputs = inputs
    command = "cosmos predict1-multiview run"
    tiny_note = "knows rendered rooms alone, and loses some of what stands in them"
    needs_requests = True

    @classmethod
    def load_models(
        cls, settings: MultiviewSettings, requests: Sequence[MultiviewRequest], guardrails: Guardrails
    ) -> Models[MultiViewDiT, ChunkedTokenizer]:
        kind: Kind = requests[0].kind
        variant, paths = MULTIVIEW[settings.model_size], weight_paths(settings, kind)
        config = network_of(settings, kind)
        if settings.diffusion_transformer_dir is not None and paths.dit.name != WEIGHTS:
            output.notice(f"the weights are those of {paths.dit}")
        works = [inputs.work_of(settings, request) for request in requests]
        models = load_models(
            settings,
            works,
            guardrails,
            networks(
                paths,
                config,
                variant.helpers,
                chunk_frames=variant.chunk_frames,
                num_views=config.n_views,
                lora_alpha=settings.lora_alpha,
            ),
            what=f"{settings.model_size} for {config.n_views} cameras",
        )
        check_kind(models.dit.config, kind, paths.dit)
        return models

    @property
    def dit(self) -> MultiViewDiT:
        dit: MultiViewDiT = self.models.dit
        return dit

    def before(self, sample: Sample) -> None:
        request = sample.request
        loaded = "video2world" if self.dit.config.condition_mask else "text2world"
        if request.kind != loaded:
            raise InputError(
                f"the loaded model is for {loaded}, but this request is for {request.kind}.",
                where="input_image_or_video_path",
            )

    def lacks(self, sample: Sample) -> Iterable[str]:
        number, field = sample.request.frame_repeat_negative_condition, "frame_repeat_negative_condition"
        is_asked = number not in (NOTHING_SAID, MultiviewRequest.model_fields[field].default)
        if is_asked and not self.dit.config.add_repeat_frame_embedding:
            yield "repeated frames: these weights have no layer that is told of them"

    def check_prompts(self, sample: Sample) -> str:
        prompts = inputs.prompts_of_cameras(sample.cameras, sample.request)
        for prompt in prompts:
            self.guardrails.check_prompt(prompt)
        return prompts[FRONT]

    def make_all(self, sample: Sample, clock: Clock) -> tuple[np.ndarray, list[str]]:
        frames_VFHWC, _ = self.make_clip(sample, clock)
        return frames_VFHWC, inputs.prompts_of_cameras(sample.cameras, sample.request)

    def frames(self, sample: Sample, prompt: str, clock: Clock) -> np.ndarray:
        with clock("encode_text"):
            text_BLD = self.encode_text(inputs.prompts_of_cameras(sample.cameras, sample.request))
        conditioning = None
        if sample.given_VFHWC is not None:
            with clock("encode"), self.stages.at_work(TOKENIZER):
                conditioning = self.condition(sample, sample.given_VFHWC)
        with clock("denoise"), self.stages.at_work(DIT):
            latents_BCTHW = self._denoise(sample, text_BLD, conditioning, clock)
        with clock("decode"), self.stages.at_work(TOKENIZER):
            return self._decode(sample, latents_BCTHW)

    def encode_text(self, prompts: list[str]) -> Tensor:
        """Contexts of all prompts, one after the other, (1, V * L, D)."""
        return torch.cat([self.models.encode_text(prompt) for prompt in prompts], dim=1)

    def condition(self, sample: Sample, given_VFHWC: np.ndarray) -> Conditioning:
        """Latents of the frames that begin every view."""
        tokenizer: ChunkedTokenizer = self.models.tokenizer
        latents_VCTHW = [
            encode_given(tokenizer, view_FHWC, sample.height, sample.width, device=self.device, dtype=self.dtype)
            for view_FHWC in given_VFHWC
        ]
        num_given = 1 if sample.request.like_original else latents_VCTHW[0].shape[2]
        _, C, _, H, W = latents_VCTHW[0].shape
        whole_VCTHW = latents_VCTHW[0].new_zeros(len(latents_VCTHW), C, tokenizer.chunk_latents, H, W)
        for whole_CTHW, given_CTHW in zip(whole_VCTHW, latents_VCTHW, strict=True):
            whole_CTHW[:, :num_given] = given_CTHW[0, :, :num_given]
        latents_BCTHW = torch.cat(whole_VCTHW.split(1), dim=2)
        check_given(latents_BCTHW)
        return given_views(latents_BCTHW, len(sample.cameras), num_frames=num_given)

    def _denoise(self, sample: Sample, text_BLD: Tensor, conditioning: Conditioning | None, clock: Clock) -> Tensor:
        """The sampling loop; returns clean latents of all views."""
        request, tokenizer = sample.request, self.models.tokenizer
        factor = tokenizer.network.config.spatial_compression
        size_THW = (len(sample.cameras) * tokenizer.chunk_latents, sample.height // factor, sample.width // factor)
        mask = None if conditioning is None else conditioning.mask_B1T11
        cond = Side(text_BLD, mask, self._repeats(sample))
        uncond = replace(cond, text_BLD=torch.zeros_like(text_BLD))
        if request.frame_repeat_contrast:
            cond = replace(cond, frame_repeat_BV=None)
        network = guided_network(
            self.dit,
            cond,
            uncond,
            size_THW,
            guidance=guidance_of(self.settings, request),
            fps=request.fps,
            dtype=self.dtype,
            guidance_group=self.team.guidance_group,
        )
        return sample_latents(
            network,
            (1, self.dit.config.in_channels, *size_THW),
            clock,
            num_steps=request.num_steps,
            seed=request.seed,
            dtype=self.dtype,
            device=self.device,
            conditioning=conditioning,
            like_original=request.like_original,
        )

    def _repeats(self, sample: Sample) -> Tensor | None:
        number = sample.request.frame_repeat_negative_condition
        if number == NOTHING_SAID:
            return None
        return torch.tensor([frame_repeats(sample.cameras, number)], device=self.device)

    def _decode(self, sample: Sample, latents_BCTHW: Tensor) -> np.ndarray:
        """Pixels of all views, (V, F, H, W, 3) uint8."""
        videos = self.models.tokenizer.decode_chunks(latents_BCTHW)
        frames = np.concatenate([to_frames_truncated(video) for video in videos])
        return frames.reshape(len(sample.cameras), -1, *frames.shape[1:])

    def result(self, generated: Generated[Sample], **common: Any) -> MultiviewResult:
        sample = generated.sample
        return MultiviewResult.of(
            generated.frames,
            sample.outputs,
            sample.request.fps,
            grid=sample.outputs["grid"],
            prompts=sample.outputs["prompts"],
            cameras=[camera.name for camera in sample.cameras],
            **common,
        )

    def write_media(self, generated: Generated[Sample]) -> None:
        sample, fps, frames_VFHWC = generated.sample, generated.sample.request.fps, generated.frames
        one_after_the_other = (frame for view in frames_VFHWC for frame in view)
        self.write_video(generated, one_after_the_other, fps, _preview_rows(generated))
        write_video(sample.outputs["grid"], mosaic_frames(frames_VFHWC, sample.cameras), fps)
        with replacing(sample.outputs["prompts"]) as temporary:
            temporary.write_text("".join(f"{' '.join(prompt.split())}\n" for prompt in generated.prompts))

    def tells(self, generated: Generated[Sample]) -> Mapping[str, Any]:
        names = (camera.name for camera in generated.sample.cameras)
        return {"prompts_used": dict(zip(names, generated.prompts, strict=True))}


def _preview_rows(generated: Generated[Sample]) -> Iterator[Row]:
    sample = generated.sample
    for number, camera in enumerate(sample.cameras):
        if sample.given_VFHWC is not None:
            yield Row(f"{camera.name}, given", sample.given_VFHWC[number], sample.first_given)
        yield Row(f"{camera.name}, output, seed {sample.request.seed}", generated.frames[number])
