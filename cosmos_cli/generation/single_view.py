"""One video of one camera in the making: from texts and given frames over latents to pixels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from cosmos_cli.diffusion.edm import Network
from cosmos_cli.diffusion.rectified_flow import Conditioning, first_frames
from cosmos_cli.files.side_work import side_work
from cosmos_cli.files.writing import replacing
from cosmos_cli.generation.denoise import Side, guided_network
from cosmos_cli.generation.given import ToPixels, encode_given, pixels_over_128
from cosmos_cli.generation.load import Models
from cosmos_cli.generation.pipeline import Generated, Pipeline
from cosmos_cli.generation.record import VideoResult
from cosmos_cli.generation.samples import VideoSample
from cosmos_cli.generation.settings import DIT, TOKENIZER, guidance_of, negative_prompt_of
from cosmos_cli.generation.steps import Clock
from cosmos_cli.media.frames import to_frames_truncated
from cosmos_cli.media.preview import Row
from cosmos_cli.media.source import digest_of, is_there
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.runtime.finite import check_given

# B batch, C latent channels, T latent frames, F pixel frames, H and W height and width; L text tokens, D their width


S = TypeVar("S", bound=VideoSample[Any])


@dataclass(frozen=True, kw_only=True)
class SingleViewResult(VideoResult):
    """A video that was written. prompt: the file with the prompt that was used in the end."""

    prompt: Path


class SingleViewPipeline(Pipeline[S, SingleViewResult]):
    """A loaded model for one camera. A kind loads it, says how a prompt is checked, and which sampler is used.

    Attributes:
        to_pixels: how frames that the video begins with come to the tokenizer.
    """

    models: Models[GeneralDiT, ChunkedTokenizer]
    to_pixels: ClassVar[ToPixels] = staticmethod(pixels_over_128)

    @abstractmethod
    def sampled(
        self, network: Network, shape: Sequence[int], sample: S, conditioning: Conditioning | None, clock: Clock
    ) -> Tensor:
        """The sampling loop; clean latents.

        Args:
            network: guided.
            shape: of the latents, B C T H W.
            conditioning: latents of given frames; None if there are none.
        """

    def frames(self, sample: S, prompt: str, clock: Clock) -> np.ndarray:
        with clock("encode_text"):
            text_BLD, negative_BLD = self.models.encode_prompts(
                prompt, negative_prompt_of(self.settings, sample.request)
            )
        conditioning = None
        if sample.given_FHWC is not None:
            with clock("encode"), self.stages.at_work(TOKENIZER):
                conditioning = self._condition(sample, sample.given_FHWC)
        with clock("denoise"), self.stages.at_work(DIT):
            latents_BCTHW = self._denoise(sample, text_BLD, negative_BLD, conditioning, clock)
        with clock("decode"), self.stages.at_work(TOKENIZER):
            return np.concatenate(list(self._decoded(latents_BCTHW)))

    def _decoded(self, latents_BCTHW: Tensor) -> Iterator[np.ndarray]:
        return map(to_frames_truncated, self.models.tokenizer.decode_chunks(latents_BCTHW))

    def _denoise(
        self, sample: S, text_BLD: Tensor, negative_BLD: Tensor, conditioning: Conditioning | None, clock: Clock
    ) -> Tensor:
        """Clean latents. What was prepared for the steps is let go with them."""
        request, shape = sample.request, self._latents(sample)
        mask = None if conditioning is None else conditioning.mask_B1T11
        network = guided_network(
            self.models.dit,
            Side(text_BLD, mask),
            Side(negative_BLD, mask),
            shape[2:],
            guidance=guidance_of(self.settings, request),
            fps=request.fps,
            dtype=self.dtype,
            guidance_group=self.team.guidance_group,
        )
        return self.sampled(network, shape, sample, conditioning, clock)

    def _latents(self, sample: S) -> tuple[int, ...]:
        """Shape of the latents, B C T H W."""
        tokenizer = self.models.tokenizer
        factor = tokenizer.network.config.spatial_compression
        num_latents = tokenizer.num_latent_frames(sample.num_frames)
        size_THW = (num_latents, sample.height // factor, sample.width // factor)
        return 1, self.models.dit.config.in_channels, *size_THW

    def _condition(self, sample: S, given_FHWC: np.ndarray) -> Conditioning:
        """Latents of the frames that begin the video."""
        given_BCTHW = encode_given(
            self.models.tokenizer,
            given_FHWC,
            sample.height,
            sample.width,
            device=self.device,
            dtype=self.dtype,
            to_pixels=self.to_pixels,
        )
        check_given(given_BCTHW)
        latents_BCTHW = torch.zeros(self._latents(sample), device=self.device, dtype=self.dtype)
        latents_BCTHW[:, :, : given_BCTHW.shape[2]] = given_BCTHW
        return first_frames(latents_BCTHW, given_BCTHW.shape[2])

    def result(self, generated: Generated[S], **common: Any) -> SingleViewResult:
        sample = generated.sample
        prompt = sample.outputs["prompt"]
        return SingleViewResult.of(generated.frames, sample.outputs, sample.request.fps, prompt=prompt, **common)

    def write_media(self, generated: Generated[S]) -> None:
        sample = generated.sample
        rows = [] if sample.given_FHWC is None else [Row("input", sample.given_FHWC, sample.first_given)]
        rows.append(Row(f"output, seed {sample.request.seed}", generated.frames))
        self.write_video(generated, generated.frames, sample.request.fps, rows)
        with replacing(sample.outputs["prompt"]) as temporary:
            temporary.write_text(f"{generated.prompt}\n", encoding="utf-8")

    def tells(self, generated: Generated[S]) -> Mapping[str, Any]:
        source, digest = generated.sample.request.source, None
        with side_work("the sidecar does not say which file the input was"):
            digest = digest_of(source) if source is not None and is_there(source) else None
        return {**({} if source is None else {"input_sha256": digest}), "prompt_used": generated.prompt}


def no_frames(sample: VideoSample[Any]) -> np.ndarray:
    """No frames, for an upsampler that looks at none."""
    return np.empty((0, sample.height, sample.width, 3), np.uint8)
