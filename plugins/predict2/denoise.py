"""From given frames over the sampling loops to pixels: what all kinds of Predict2 do alike."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from cosmos_cli import output
from cosmos_cli.diffusion.ab2 import Denoiser, level, sample_ab2
from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.rectified_flow import Conditioning, Velocity, denoise, first_frames
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.generation.load import Models
from cosmos_cli.generation.steps import Clock
from cosmos_cli.media.frames import to_frames, to_video
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_cli.runtime.finite import check_given
from cosmos_cli.runtime.workers.mesh import in_halves

# B batch, C latent channels, T latent frames, F pixel frames, H and W height and width; L text tokens, D embedding
# width


def begin_with(models: Models[Any, WanVAE], frames_FHWC: np.ndarray, num_frames: int) -> Conditioning:
    """Latents of given frames at the head of a clip of full length.

    The encoder is causal, so encoding the given frames alone equals encoding them with any filler behind.

    Args:
        frames_FHWC: (F, H, W, 3) uint8. num_frames: of the clip; between two latent frames the later one is made.
    """
    given = models.tokenizer.encode(to_video(frames_FHWC, models.device, models.dtype)).float()
    check_given(given)
    B, C, num_given, H, W = given.shape
    num_latents = 1 - (1 - num_frames) // models.tokenizer.temporal_factor
    latents = given.new_zeros(B, C, max(num_given, num_latents), H, W)
    latents[:, :, :num_given] = given
    return first_frames(latents, num_given)


def velocity_under(
    dit: MinimalDiT,
    context_BLD: Tensor,
    conditioning: Conditioning,
    dtype: torch.dtype,
    *steering: Tensor,
    fps: float | None = None,
) -> Velocity:
    """The network under one text: what is constant over the steps is computed here, once.

    Args:
        context_BLD: embedding of the text, or of the texts of all views, in the network's dtype.
        steering: what else the network reads, such as encoded actions.
        fps: told to networks that count time in seconds.
    """
    _, _, T, H, W = conditioning.latents_BCTHW.shape
    _, patch_h, patch_w = dit.config.patch_THW
    text = dit.encode_text(context_BLD)
    rope = dit.rotary_table((T, H // patch_h, W // patch_w), fps=fps)
    masks = {}
    if dit.config.condition_mask:
        masks["condition_mask_B1THW"] = conditioning.mask_B1T11.expand(-1, -1, -1, H, W).to(dtype)
    return lambda x_BCTHW, timesteps_BT: dit(x_BCTHW, timesteps_BT, text, *steering, **masks, rope=rope)


def guided(
    velocity: Velocity,
    negative_velocity: Velocity | None,
    conditioning: Conditioning,
    *,
    guidance: float,
    dtype: torch.dtype,
    guidance_group: ProcessGroup | None = None,
) -> Denoiser:
    """The guided x0 prediction, float32.

    Args:
        velocity: the network under the prompt.
        negative_velocity: the network under what to guide away from; None leaves out guidance and half of the work.
        conditioning: what is given; an empty mask gives nothing.
        dtype: the network's own.
        guidance_group: two processes that share the halves of guidance; None for one that computes both.
    """

    def denoiser(x_BCTHW: Tensor, sigma: Tensor) -> Tensor:
        def x0(velocity: Velocity) -> Tensor:
            return denoise(velocity, x_BCTHW, sigma, conditioning, dtype=dtype)

        if negative_velocity is None:
            return x0(velocity)
        return guide(*in_halves(lambda: x0(velocity), lambda: x0(negative_velocity), guidance_group), guidance)

    return denoiser


def guided_by_texts(
    dit: MinimalDiT,
    context_BLD: Tensor,
    negative_BLD: Tensor,
    conditioning: Conditioning,
    *,
    guidance: float,
    dtype: torch.dtype,
    guidance_group: ProcessGroup | None = None,
    fps: float | None = None,
) -> Denoiser:
    """The x0 prediction under a prompt, guided away from another text; guidance 0 leaves that out."""

    def under(text_BLD: Tensor) -> Velocity:
        return velocity_under(dit, text_BLD, conditioning, dtype, fps=fps)

    negative = under(negative_BLD) if guidance else None
    velocity = under(context_BLD)
    return guided(velocity, negative, conditioning, guidance=guidance, dtype=dtype, guidance_group=guidance_group)


def sample_latents(
    denoiser: Denoiser,
    conditioning: Conditioning,
    clock: Clock,
    *,
    num_steps: int,
    seed: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
) -> Tensor:
    """Clean latents of one picture or clip, B C T H W float32, of the conditioning's shape.

    Source: cosmos-predict2 661da47, pipelines/video2world.py, text2image.py and multiview.py (behaviour).
    """
    latents = conditioning.latents_BCTHW
    noise = arch_invariant_noise(latents.shape, seed).to(latents.device) * sigma_max
    sigmas = karras_sigmas(num_steps, sigma_min, sigma_max)
    with clock.denoising(num_steps) as steps:
        return sample_ab2(steps.watched(denoiser), noise, sigmas, on_step=steps)


def sample_distilled(
    velocity: Velocity,
    conditioning: Conditioning,
    clock: Clock,
    sigmas: tuple[float, ...],
    *,
    seed: int,
    dtype: torch.dtype,
) -> Tensor:
    """Clean latents by a distilled network: predict them, add fresh noise of the next level, predict again.

    The noise comes from the CPU's generator, so that it does not depend on the device; that of all levels is copied
    there before the first step.

    Args:
        sigmas: noise levels, falling; one evaluation of the network at each.
    Source: cosmos-predict2 661da47, pipelines/text2image.py (behaviour).
    """
    latents = conditioning.latents_BCTHW
    generator = torch.Generator().manual_seed(seed)

    noise_NBCTHW = torch.stack([torch.randn(latents.shape, generator=generator) for _ in sigmas]).to(latents.device)
    with clock.denoising(len(sigmas)) as steps:
        denoiser = steps.watched(guided(velocity, None, conditioning, guidance=0.0, dtype=dtype))
        x = noise_NBCTHW[0] * sigmas[0]
        for index, (sigma, sigma_next) in enumerate(itertools.pairwise((*sigmas, 0.0))):
            x = denoiser(x, level(sigma, x))
            if sigma_next:
                x = x + sigma_next * noise_NBCTHW[index + 1]
            steps(index)
    return x


def decode(vae: WanVAE, latents_BCTHW: Tensor) -> np.ndarray:
    """Pixels of the latents of one clip, (F, H, W, 3) uint8."""
    with output.progress("Decoding", latents_BCTHW.shape[2], unit="latent frames") as advance:
        chunks = []
        for chunk_BCFHW in vae.decode_chunks(latents_BCTHW):
            chunks.append(to_frames(chunk_BCFHW))
            advance()
    return np.concatenate(chunks)
