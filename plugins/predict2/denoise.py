"""The sampling loops of the models beside Video2World, and the decoding of all."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from cosmos_cli import output
from cosmos_cli.diffusion.ab2 import sample_ab2
from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.rectified_flow import Conditioning, Velocity, denoise
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.media.frames import to_frames
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_cli.runtime.workers.mesh import in_halves

# B batch, C latent channels, T latent frames, H and W latent height and width; F pixel frames


def sample(
    velocity: Velocity,
    negative_velocity: Velocity | None,
    conditioning: Conditioning,
    *,
    guidance: float,
    num_steps: int,
    seed: int,
    dtype: torch.dtype,
    guidance_group: ProcessGroup | None = None,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
) -> Tensor:
    """Clean latents of one picture or clip, B C T H W float32, of the conditioning's shape.

    Args:
        velocity: the network under the prompt.
        negative_velocity: the network under what to guide away from; None leaves out guidance and half of the work.
        conditioning: what is given; an empty mask gives nothing.
        dtype: the network's own.
        guidance_group: two processes that share the halves of guidance; None for one that computes both.
    Source: cosmos-predict2 661da47, pipelines/text2image.py and pipelines/multiview.py (behaviour).
    """
    latents = conditioning.latents_BCTHW

    def denoiser(x_BCTHW: Tensor, sigma: Tensor) -> Tensor:
        def x0(velocity: Velocity) -> Tensor:
            return denoise(velocity, x_BCTHW, sigma, conditioning, dtype=dtype)

        if negative_velocity is None:
            return x0(velocity)
        halves = in_halves(lambda: x0(velocity), lambda: x0(negative_velocity), guidance_group)
        return guide(*halves, guidance)

    noise = arch_invariant_noise(latents.shape, seed).to(latents.device) * sigma_max
    sigmas = karras_sigmas(num_steps, sigma_min, sigma_max)
    with output.progress("Denoising", num_steps) as advance:
        return sample_ab2(denoiser, noise, sigmas, on_step=lambda *_: advance())


def sample_distilled(
    velocity: Velocity, conditioning: Conditioning, sigmas: tuple[float, ...], *, seed: int, dtype: torch.dtype
) -> Tensor:
    """Clean latents by a distilled network: predict them, add fresh noise of the next level, predict again.

    The noise comes from the CPU's generator, so that it does not depend on the device.

    Args:
        sigmas: noise levels, falling; one evaluation of the network at each.
    Source: cosmos-predict2 661da47, pipelines/text2image.py (behaviour).
    """
    latents = conditioning.latents_BCTHW
    generator = torch.Generator().manual_seed(seed)

    def noise() -> Tensor:
        return torch.randn(latents.shape, generator=generator).to(latents.device)

    with output.progress("Denoising", len(sigmas)) as advance:
        x = noise() * sigmas[0]
        for sigma, sigma_next in itertools.pairwise((*sigmas, 0.0)):
            x = denoise(velocity, x, x.new_tensor(sigma), conditioning, dtype=dtype)
            if sigma_next:
                x = x + sigma_next * noise()
            advance()
    return x


def decode(vae: WanVAE, latents_BCTHW: Tensor) -> np.ndarray:
    """Pixels of the latents of one clip, (F, H, W, 3) uint8."""
    with output.progress("Decoding", latents_BCTHW.shape[2], unit="latent frames") as advance:
        chunks = []
        for chunk_BCFHW in vae.decode_chunks(latents_BCTHW):
            chunks.append(to_frames(chunk_BCFHW))
            advance()
    return np.concatenate(chunks)
