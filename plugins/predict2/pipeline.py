"""What the pipelines of all kinds of Predict2 do alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from cosmos_cli import output
from cosmos_cli.diffusion.rectified_flow import Conditioning
from cosmos_cli.generation.load import BuildNetworks, Models, OwnRefiner, load_models
from cosmos_cli.generation.pipeline import Pipeline, Sample
from cosmos_cli.generation.record import Result
from cosmos_cli.generation.settings import DIT, guidance_of
from cosmos_cli.generation.steps import Clock
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.models.prompts import Refiner
from cosmos_plugins.predict2.denoise import guided_by_texts, sample_latents

# B batch, L text tokens, D embedding width

S = TypeVar("S", bound=Sample)
R = TypeVar("R", bound=Result)


class Predict2Pipeline(Pipeline[S, R]):
    """One DiT that predicts velocities, and the Wan tokenizer.

    Attributes:
        build_networks: the kind's function of that name in its `networks`.
    """

    build_networks: ClassVar[Callable[..., BuildNetworks[Any, Any]]]

    @classmethod
    def refiners(cls, settings: Any) -> tuple[OwnRefiner | None, Callable[[], Mapping[str, Refiner]]]:
        """What rewrites prompts: a model to load, or what builds others."""
        return None, dict

    @classmethod
    def load_models(cls, settings: Any, requests: Sequence[Any], guardrails: Guardrails) -> Models[Any, Any]:
        works = [cls.inputs.work_of(settings, request) for request in requests or [None]]
        refiner, refiners = cls.refiners(settings)
        return load_models(
            settings,
            works,
            guardrails,
            cls.build_networks(settings),
            what=settings.model_size,
            refiner=refiner,
            refiners=refiners,
        )

    def denoise(
        self,
        conditioning: Conditioning,
        context_BLD: Tensor,
        negative_BLD: Tensor,
        request: Any,
        clock: Clock,
        *,
        fps: float | None = None,
        **sigmas: float,
    ) -> Tensor:
        """The whole sampling loop in latent space, as a request asks for it; clean latents, B C T H W float32.

        Args:
            fps: as for `velocity_under`. sigmas: as for `sample_latents`.
        """
        with clock("denoise"), self.stages.at_work(DIT):
            denoiser = guided_by_texts(
                self.models.dit,
                context_BLD,
                negative_BLD,
                conditioning,
                guidance=guidance_of(self.settings, request),
                dtype=self.dtype,
                guidance_group=self.team.guidance_group,
                fps=fps,
            )
            return sample_latents(
                denoiser, conditioning, clock, num_steps=request.num_steps, seed=request.seed, **sigmas
            )

    def before(self, sample: S) -> None:
        if getattr(self.settings, "use_cuda_graphs", False):
            output.notice("--use-cuda-graphs has no effect")
