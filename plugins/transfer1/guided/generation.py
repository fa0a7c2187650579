"""One view in the making: as a plain transfer, with parts of it held to what the simulation shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cosmos_cli.diffusion.ab2 import Denoiser
from cosmos_cli.diffusion.injection import Injection
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_plugins.transfer1.chunks import Chunk, places_of, take
from cosmos_plugins.transfer1.generation import Generation, generator_noise
from cosmos_plugins.transfer1.guided.guidance import Held, layers_of
from cosmos_plugins.transfer1.requests import PURE_NOISE_SIGMA

# N = 1 tile, C latent channels, T latent frames, h and w latent height and width


class GuidedGeneration(Generation):
    """A view on its way to frames. The sample's own frames are the reference.

    Args:
        held: the foreground; or the background and the foreground, in this order.
        sigma_threshold: noise level down to which the foreground is held.
        one_noise: have all chunks begin with the noise of the first, as the original does.
    """

    def __init__(
        self, *given: Any, held: Sequence[Held], sigma_threshold: float, one_noise: bool = False, **more: Any
    ) -> None:
        super().__init__(*given, **more)
        self._held, self._sigma_threshold, self._one_noise = held, sigma_threshold, one_noise
        self._injection: Injection | None = None

    def _seed(self, chunk: Chunk) -> int:
        return self._sample.request.seed if self._one_noise else super()._seed(chunk)

    def _start(self, chunk: Chunk, hints: Any) -> tuple[torch.Tensor, float]:
        """Noise alone, or the reference with noise on it; in float32, so that noise levels are compared exactly."""
        assert self._sample.frames_FHWC is not None
        models, request = self._models, self._sample.request
        reference_NCThw = self._encode_tiles(take(self._sample.frames_FHWC, chunk)).float()
        seed = self._seed(chunk)
        noise = generator_noise(reference_NCThw.shape, seed).to(models.device)
        places = places_of(chunk, self._sample.num_frames)
        masks = [held.latents(places).to(models.device) for held in self._held]
        self._injection = Injection(reference_NCThw, noise, layers_of(masks, self._sigma_threshold))
        if request.sigma_max < PURE_NOISE_SIGMA:
            return reference_NCThw + request.sigma_max * noise, request.sigma_max
        start = arch_invariant_noise(reference_NCThw.shape, seed).to(models.device)
        return start * request.sigma_max, request.sigma_max

    def _steered(self, denoiser: Denoiser) -> Denoiser:
        assert self._injection is not None
        return self._injection.around(denoiser)
