"""A Cosmos-1.0 diffusion model at work: load once, generate many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from cosmos_cli import output
from cosmos_cli.diffusion.edm import Network
from cosmos_cli.diffusion.rectified_flow import Conditioning
from cosmos_cli.generation import tiny_rewriter
from cosmos_cli.generation.captions import caption_writer
from cosmos_cli.generation.denoise import sample_latents_res
from cosmos_cli.generation.given import ToPixels, pixels_over_127
from cosmos_cli.generation.load import Models, OwnRefiner, load_models
from cosmos_cli.generation.networks import networks
from cosmos_cli.generation.pipeline import Generated
from cosmos_cli.generation.single_view import SingleViewPipeline, no_frames
from cosmos_cli.generation.steps import Clock
from cosmos_cli.generation.upsampler import choose_upsampler, own_upsampler
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.prompts import Refiner, checked_prompt
from cosmos_plugins.nemo_bridge import inputs, upsampling
from cosmos_plugins.nemo_bridge.model import check_kind, model_of
from cosmos_plugins.nemo_bridge.networks import load_dit
from cosmos_plugins.nemo_bridge.requests import NemoRequest, NemoSettings
from cosmos_plugins.nemo_bridge.samples import Sample


class NemoPipeline(SingleViewPipeline[Sample]):
    """A loaded model, Text2World or Video2World by what it was loaded for.

    >>> request = NemoRequest(prompt="A robot lifts a box.", video_save_path="out.mp4")
    >>> NemoPipeline.load(NemoSettings(model_size="tiny"), [request])(request)
    """

    inputs = inputs
    command = "cosmos nemo run"
    tiny_note = "has random weights: frames after given ones show noise"
    needs_requests = True
    to_pixels: ClassVar[ToPixels] = staticmethod(pixels_over_127)

    @classmethod
    def load_models(
        cls, settings: NemoSettings, requests: Sequence[NemoRequest], guardrails: Guardrails
    ) -> Models[GeneralDiT, ChunkedTokenizer]:
        kind = requests[0].kind
        model = model_of(settings, kind)
        if model.is_own and model.paths.dit != settings.nemo_checkpoint:
            output.notice(f"the weights are those of {model.paths.dit}")
        refiner, refiners = cls._refiners(settings)
        return load_models(
            settings,
            [inputs.work_of(settings, request) for request in requests],
            guardrails,
            networks(
                model.paths,
                model.network,
                model.variant.helpers,
                chunk_frames=model.variant.chunk_frames,
                lora_alpha=settings.lora_alpha,
                load=load_dit,
            ),
            what=f"{kind} {model.size}",
            refiner=refiner,
            refiners=refiners,
        )

    @classmethod
    def _refiners(cls, settings: NemoSettings) -> tuple[OwnRefiner | None, Callable[[], Mapping[str, Refiner]]]:
        """What writes prompts out: a model to load, or what builds others."""
        if not settings.enable_prompt_upsampler:
            return None, dict
        if upsampling.upsamples_by_rule(settings):
            return None, tiny_rewriter.by_rule
        own = None
        if upsampling.upsamples_itself(settings):
            own = own_upsampler(settings.prompt_upsampler_dir, upsampling.upsampler_folder(settings), caption_writer)
        return choose_upsampler(settings, caption_writer, own)

    def before(self, sample: Sample) -> None:
        check_kind(self.models.dit.config, sample.request.kind, sample.paths.dit)

    def lacks(self, sample: Sample) -> Iterable[str]:
        if not self.models.refiners:
            yield "prompt upsampler: not asked for (--enable-prompt-upsampler), the prompt is used as given"
        elif upsampling.upsamples_by_rule(self.settings):
            yield tiny_rewriter.says_so("prompt upsampler")

    def check_prompts(self, sample: Sample) -> str:
        """As written out, with the subject in front of it."""
        request = sample.request
        prompt = checked_prompt(
            request.prompt or "",
            no_frames(sample),
            self.guardrails,
            self.models.refiners,
            way_out="Leave out --enable-prompt-upsampler.",
        )
        if request.subject:
            prompt = f"{request.subject}{prompt}"
            self.guardrails.check_prompt(prompt)
        return prompt

    def sampled(
        self, network: Network, shape: Sequence[int], sample: Sample, conditioning: Conditioning | None, clock: Clock
    ) -> Tensor:
        request = sample.request
        return sample_latents_res(
            network,
            shape,
            clock,
            num_steps=request.num_steps,
            seed=request.seed,
            dtype=self.dtype,
            device=self.device,
            conditioning=conditioning,
        )

    def tells(self, generated: Generated[Sample]) -> Mapping[str, Any]:
        return {**super().tells(generated), "upsampled_by": list(self.models.refiners)[:1]}
