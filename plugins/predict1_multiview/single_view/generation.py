"""One video in the making: the pipeline of both kinds, but for what asks the prompt upsampler."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmos_cli import output
from cosmos_cli.diffusion.rectified_flow import Conditioning, first_frames
from cosmos_cli.files.side_work import side_work
from cosmos_cli.files.writing import replacing
from cosmos_cli.generation.load import Models, OwnRefiner, load_models
from cosmos_cli.generation.networks import networks
from cosmos_cli.generation.pipeline import Generated, Pipeline
from cosmos_cli.generation.record import VideoResult
from cosmos_cli.generation.settings import DIT, TOKENIZER
from cosmos_cli.generation.steps import Clock
from cosmos_cli.generation.upsampler import PromptUpsampler, choose_upsampler, own_upsampler
from cosmos_cli.generation.variants import CLIP_FRAMES
from cosmos_cli.generation.weights import WEIGHTS
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.frames import to_frames_truncated
from cosmos_cli.media.source import digest_of, is_there
from cosmos_cli.models.chat import ChatModel
from cosmos_cli.models.cosmos_tokenizer import ChunkedTokenizer
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.prompts import Refiner, checked_prompt
from cosmos_cli.runtime.finite import check_given
from cosmos_plugins.predict1_multiview.denoise import Side, guided_network, sample_latents
from cosmos_plugins.predict1_multiview.given import encode_given
from cosmos_plugins.predict1_multiview.single_view import inputs, upsampling
from cosmos_plugins.predict1_multiview.single_view.network import check_kind, model_of, network_of
from cosmos_plugins.predict1_multiview.single_view.requests import SingleViewOptions, SingleViewSettings
from cosmos_plugins.predict1_multiview.single_view.samples import Sample

# B batch, C latent channels, T latent frames, F pixel frames, H and W height and width; L text tokens, D their width


@dataclass(frozen=True, kw_only=True)
class SingleViewResult(VideoResult):
    """A video that was written. prompt: the file with the prompt that was used in the end."""

    prompt: Path


class SingleViewPipeline(Pipeline[Sample, SingleViewResult]):
    """A loaded model of one kind, which serves every request of that kind."""

    @staticmethod
    @abstractmethod
    def upsampler(model: ChatModel) -> PromptUpsampler:
        """How a chat model is asked to write a prompt out."""

    @classmethod
    def load_models(
        cls, settings: SingleViewSettings, requests: Sequence[SingleViewOptions], guardrails: Guardrails
    ) -> Models[GeneralDiT, ChunkedTokenizer]:
        model = model_of(settings)
        if model.is_own and model.paths.dit.name != WEIGHTS:
            output.notice(f"the weights are those of {model.paths.dit}")
        refiner, refiners = cls._refiners(settings, requests)
        return load_models(
            settings,
            [inputs.work_of(settings, request) for request in requests],
            guardrails,
            networks(
                model.paths,
                network_of(settings),
                model.variant.helpers,
                chunk_frames=CLIP_FRAMES,
                lora_alpha=settings.lora_alpha,
            ),
            what=f"{settings.kind} {model.size}",
            refiner=refiner,
            refiners=refiners,
        )

    @classmethod
    def _refiners(
        cls, settings: SingleViewSettings, requests: Sequence[SingleViewOptions]
    ) -> tuple[OwnRefiner | None, Callable[[], Mapping[str, Refiner]]]:
        """What writes prompts out: a model to load, if a request needs it, or what builds others."""
        if not upsampling.has_upsampler(settings) or all(request.is_long for request in requests):
            return None, dict
        own = None
        if upsampling.upsamples_itself(settings):
            own = own_upsampler(settings.prompt_upsampler_dir, upsampling.upsampler_folder(settings), cls.upsampler)
        return choose_upsampler(settings, cls.upsampler, own)

    def before(self, sample: Sample) -> None:
        check_kind(self.models.dit.config, self.settings.kind, sample.paths.dit)

    def lacks(self, sample: Sample) -> Iterable[str]:
        if self.settings.disable_prompt_upsampler:
            yield "prompt upsampler: disabled, the prompt is used as given"
        elif sample.request.is_long:
            yield "prompt upsampler: not for a prompt of so many words, which is used as given"
        elif not self.models.refiners:
            yield "prompt upsampler: the model has none, the prompt is used as given"

    def check_prompts(self, sample: Sample) -> str:
        request = sample.request
        return checked_prompt(
            request.prompt or "",
            _nothing(sample) if sample.given_FHWC is None else sample.given_FHWC,
            self.guardrails,
            {} if request.is_long else self.models.refiners,
            way_out="Pass --disable-prompt-upsampler, and --prompt.",
        )

    def frames(self, sample: Sample, prompt: str, clock: Clock) -> np.ndarray:
        request, models = sample.request, self.models
        with clock("encode_text"):
            text_BLD, negative_BLD = models.encode_prompts(prompt, request.negative_prompt)
        conditioning = None
        if sample.given_FHWC is not None:
            with clock("encode"), self.stages.at_work(TOKENIZER):
                conditioning = self._condition(sample, sample.given_FHWC)
        with clock("denoise"), self.stages.at_work(DIT):
            latents_BCTHW = self._denoise(sample, text_BLD, negative_BLD, conditioning, clock)
        with clock("decode"), self.stages.at_work(TOKENIZER):
            return np.concatenate(list(map(to_frames_truncated, models.tokenizer.decode_chunks(latents_BCTHW))))

    def _denoise(
        self, sample: Sample, text_BLD: Tensor, negative_BLD: Tensor, conditioning: Conditioning | None, clock: Clock
    ) -> Tensor:
        """The sampling loop; clean latents. What was prepared for its steps is let go with it."""
        request, shape = sample.request, self._latents(sample)
        mask = None if conditioning is None else conditioning.mask_B1T11
        network = guided_network(
            self.models.dit,
            Side(text_BLD, mask),
            Side(negative_BLD, mask),
            shape[2:],
            guidance=request.guidance,
            fps=request.fps,
            dtype=self.dtype,
            guidance_group=self.team.guidance_group,
        )
        return sample_latents(
            network,
            shape,
            clock,
            num_steps=request.num_steps,
            seed=request.seed,
            dtype=self.dtype,
            device=self.device,
            conditioning=conditioning,
            like_original=request.repeats_slips,
        )

    def _latents(self, sample: Sample) -> tuple[int, ...]:
        """Shape of the latents, B C T H W."""
        tokenizer: ChunkedTokenizer = self.models.tokenizer
        factor = tokenizer.network.config.spatial_compression
        size_THW = (tokenizer.chunk_latents, sample.height // factor, sample.width // factor)
        return 1, self.models.dit.config.in_channels, *size_THW

    def _condition(self, sample: Sample, given_FHWC: np.ndarray) -> Conditioning:
        """Latents of the frames that begin the video."""
        given_BCTHW = encode_given(
            self.models.tokenizer, given_FHWC, sample.height, sample.width, device=self.device, dtype=self.dtype
        )
        check_given(given_BCTHW)
        latents_BCTHW = torch.zeros(self._latents(sample), device=self.device, dtype=self.dtype)
        latents_BCTHW[:, :, : given_BCTHW.shape[2]] = given_BCTHW
        return first_frames(latents_BCTHW, given_BCTHW.shape[2])

    def result(self, generated: Generated[Sample], **common: Any) -> SingleViewResult:
        sample = generated.sample
        prompt = sample.outputs["prompt"]
        return SingleViewResult.of(generated.frames, sample.outputs, sample.request.fps, prompt=prompt, **common)

    def write_media(self, generated: Generated[Sample]) -> None:
        sample = generated.sample
        rows = [] if sample.given_FHWC is None else [("input", sample.given_FHWC)]
        rows.append((f"output, seed {sample.request.seed}", generated.frames))
        self.write_video(generated, generated.frames, sample.request.fps, rows)
        with replacing(sample.outputs["prompt"]) as temporary:
            temporary.write_text(f"{generated.prompt}\n", encoding="utf-8")

    def tells(self, generated: Generated[Sample]) -> Mapping[str, Any]:
        source, digest = generated.sample.request.source, None
        with side_work("the sidecar does not say which file the input was"):
            digest = digest_of(source) if source is not None and is_there(source) else None
        written = bool(self.models.refiners) and not generated.sample.request.is_long
        return {
            **({} if source is None else {"input_sha256": digest}),
            "prompt_used": generated.prompt,
            "upsampled_by": list(self.models.refiners)[:1] if written else [],
        }


def _nothing(sample: Sample) -> np.ndarray:
    """No frames, for an upsampler that looks at none."""
    return np.empty((0, sample.height, sample.width, 3), np.uint8)
