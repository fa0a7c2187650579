"""One video in the making: the pipeline of both kinds, but for what asks the prompt upsampler."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from cosmos_cli import output
from cosmos_cli.diffusion.edm import Network
from cosmos_cli.diffusion.rectified_flow import Conditioning
from cosmos_cli.generation import single_view, tiny_rewriter
from cosmos_cli.generation.denoise import sample_latents
from cosmos_cli.generation.load import Models, OwnRefiner, load_models
from cosmos_cli.generation.networks import networks
from cosmos_cli.generation.pipeline import Generated
from cosmos_cli.generation.single_view import no_frames
from cosmos_cli.generation.steps import Clock
from cosmos_cli.generation.upsampler import PromptUpsampler, choose_upsampler, own_upsampler
from cosmos_cli.generation.weights import WEIGHTS
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.models.chat import ChatModel
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.prompts import Refiner, checked_prompt
from cosmos_plugins.predict1_multiview.single_view import inputs, upsampling
from cosmos_plugins.predict1_multiview.single_view.network import check_kind, model_of, network_of
from cosmos_plugins.predict1_multiview.single_view.requests import SingleViewOptions, SingleViewSettings
from cosmos_plugins.predict1_multiview.single_view.samples import Sample

# B batch, C latent channels, T latent frames, F pixel frames, H and W height and width; L text tokens, D their width


class SingleViewPipeline(single_view.SingleViewPipeline[Sample]):
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
                chunk_frames=model.variant.chunk_frames,
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
        if not settings.may_upsample or all(request.is_long for request in requests):
            return None, dict
        if upsampling.upsamples_by_rule(settings):
            return None, tiny_rewriter.by_rule
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
        elif upsampling.upsamples_by_rule(self.settings):
            yield tiny_rewriter.says_so("prompt upsampler")

    def check_prompts(self, sample: Sample) -> str:
        request = sample.request
        return checked_prompt(
            request.prompt or "",
            no_frames(sample) if sample.given_FHWC is None else sample.given_FHWC,
            self.guardrails,
            {} if request.is_long else self.models.refiners,
            way_out="Pass --disable-prompt-upsampler, and --prompt.",
        )

    def sampled(
        self, network: Network, shape: Sequence[int], sample: Sample, conditioning: Conditioning | None, clock: Clock
    ) -> Tensor:
        request = sample.request
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

    def tells(self, generated: Generated[Sample]) -> Mapping[str, Any]:
        written = bool(self.models.refiners) and not generated.sample.request.is_long
        return {**super().tells(generated), "upsampled_by": list(self.models.refiners)[:1] if written else []}
