"""The sampling loops of general diffusion transformers, on their guided output, for one view or for several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from cosmos_cli.diffusion.edm import (
    SIGMA_AUGMENT,
    Network,
    add_conditioning,
    denoise,
    free_below,
    precondition_output,
    scaling,
)
from cosmos_cli.diffusion.edm_euler import (
    Predict,
    euler_sigmas,
    initial_scale,
    output_at_given_frames,
    output_of_x0,
    sample_edm_euler,
    unconditioned,
)
from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.rectified_flow import Conditioning
from cosmos_cli.diffusion.res_sampler import sample_res
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.generation.steps import Clock, Steps
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.runtime.workers.mesh import in_halves

# B batch, V views, C latent channels, T latent frames of all views, H and W latent height and width
# L text tokens, D embedding width

SIGMA_MIN, SIGMA_MAX = 0.0002, 80.0
RES_SIGMA_MIN = 0.002
"""Lowest level of the multistep sampler."""
TENTHS = 0.1
"""The networks are told a tenth of the number of repeated frames."""


@dataclass(frozen=True)
class Side:
    """What one side of guidance reads.

    text_BLD: embedding of the prompt, or of the prompts of all views, one after the other, in the network's dtype.
    mask_B1T11: 1 at given latent frames; None for a network that is given none.
    frame_repeat_BV: number of repeated frames in each view; None where nothing is said of it.
    """

    text_BLD: Tensor
    mask_B1T11: Tensor | None = None
    frame_repeat_BV: Tensor | None = None


def guided_network(
    dit: GeneralDiT,
    cond: Side,
    uncond: Side | None,
    size_THW: Sequence[int],
    *,
    guidance: float,
    fps: float | Tensor,
    dtype: torch.dtype,
    padding_mask_B1HW: Tensor | None = None,
    guidance_group: ProcessGroup | None = None,
) -> Network:
    """The network's guided raw output; what is constant over the steps is computed here, once.

    Args:
        cond: what the prompt asks for. uncond: what to guide away from; None, or guidance 0, is unguided and takes half
            of the work.
        size_THW: of the latents, all views together.
        fps: frame rate that the network is told.
        dtype: of the network.
        guidance_group: two processes that share the sides; None for one that computes both.
    """
    T, H, W = size_THW
    _, patch_h, patch_w = dit.config.patch_THW
    grid_THW = (T, H // patch_h, W // patch_w)
    tables: dict[str, Any] = {
        "rope": dit.rotary_table(grid_THW, fps=fps),
        "positions_THWD": dit.position_embedding(grid_THW),
        "padding_mask_B1HW": padding_mask_B1HW,
    }

    def under(side: Side) -> Network:
        options = {**tables, **_views(dit, side, dtype)}
        if side.mask_B1T11 is not None:
            options["condition_mask_B1THW"] = side.mask_B1T11.to(dtype).expand(-1, -1, -1, H, W)
        text = dit.encode_text(side.text_BLD)
        return lambda x, c_noise: dit(x, c_noise.to(x.device).expand(x.shape[0]), text, **options)

    wanted = under(cond)
    if uncond is None or not guidance:
        return wanted
    unwanted = under(uncond)

    def network(x_BCTHW: Tensor, c_noise: Tensor) -> Tensor:
        sides = in_halves(lambda: wanted(x_BCTHW, c_noise), lambda: unwanted(x_BCTHW, c_noise), guidance_group)
        first, second = (side.float() for side in sides)
        return guide(first, second, guidance).to(dtype)

    return network


def _views(dit: GeneralDiT, side: Side, dtype: torch.dtype) -> dict[str, Tensor]:
    """What describes the views to a network for several of them, which may not know of repeated frames."""
    if not isinstance(dit, MultiViewDiT):
        return {}
    repeats = side.frame_repeat_BV if dit.config.add_repeat_frame_embedding else None
    return {"views_BEVT": dit.encode_views(frame_repeat_BV=None if repeats is None else (repeats * TENTHS).to(dtype))}


def given(
    network: Network,
    conditioning: Conditioning,
    noise_BCTHW: Tensor,
    *,
    sigma_augment: float = SIGMA_AUGMENT,
    like_original: bool = False,
) -> Predict:
    """The `Predict` of a network that is given latent frames, which stay as they are.

    Args:
        network: guided; its condition mask marks the given frames.
        noise_BCTHW: standard normal noise on the given frames, the same at every step.
        sigma_augment: its level; once the rest has no more noise, all frames are denoised together.
        like_original: put the original's slip in place of the output at the given frames.
    Source: cosmos-predict1 4ed35fa, diffusion/model/model_v2w.py and model_v2w_multiview.py (behaviour).
    """
    output_at = output_at_given_frames if like_original else output_of_x0

    def predict(x_BCTHW: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        dtype, augment = x_BCTHW.dtype, torch.full_like(sigma, sigma_augment)
        active = free_below(conditioning, sigma, sigma_augment)
        x = add_conditioning(x_BCTHW, sigma, active, noise_BCTHW, augment).to(dtype)
        c, mask = scaling(sigma), active.mask_B1T11
        output = network(c.c_in * x, c.c_noise)
        known = output_at(conditioning.latents_BCTHW.float(), x.float(), sigma)
        return x, (mask * known + (1 - mask) * output).to(dtype)

    return predict


def sample_latents(
    network: Network,
    shape: Sequence[int],
    clock: Clock,
    *,
    num_steps: int,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
    conditioning: Conditioning | None = None,
    noise_BCTHW: Tensor | None = None,
    like_original: bool = False,
) -> Tensor:
    """Clean latents, B C T H W in the network's dtype.

    The noise comes from the CPU's generator, for the whole tensor, so that it depends on the seed alone.

    Args:
        network: from `guided_network`.
        shape: of the latents.
        conditioning: given latent frames; None if there are none.
        noise_BCTHW: standard normal noise to begin with in place of that of the seed.
        like_original: see `given`.
    Source: cosmos-predict1 4ed35fa, diffusion/model/model_t2w.py and model_v2w.py (behaviour).
    """
    if noise_BCTHW is None:
        noise_BCTHW = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))
    start_BCTHW = (noise_BCTHW.to(device) * initial_scale(SIGMA_MAX)).to(dtype)
    if conditioning is None:
        predict = unconditioned(network)
    else:
        on_given = arch_invariant_noise(shape, seed).to(device)
        predict = given(network, conditioning, on_given, like_original=like_original)
    sigmas = euler_sigmas(num_steps, SIGMA_MIN, SIGMA_MAX).to(device)
    with clock.denoising(num_steps) as steps:
        return sample_edm_euler(_watched(predict, steps), start_BCTHW, sigmas, steps)


def sample_latents_res(
    network: Network,
    shape: Sequence[int],
    clock: Clock,
    *,
    num_steps: int,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
    conditioning: Conditioning | None = None,
) -> Tensor:
    """Clean latents, B C T H W in the network's dtype, by the multistep sampler that carries them in float64.

    The noise is that of all Cosmos families for a seed, for the whole tensor; given frames have the same draw, at every
    step.

    Args:
        network: from `guided_network`.
        shape: of the latents.
        conditioning: given latent frames; None if there are none.
    Source: Cosmos 1.0, cosmos1/models/diffusion/model/model_t2w.py and model_v2w.py (behaviour).
    """
    noise_BCTHW = arch_invariant_noise(shape, seed).to(device)
    sigmas = karras_sigmas(num_steps, RES_SIGMA_MIN, SIGMA_MAX)

    def denoiser(x_BCTHW: Tensor, sigma: Tensor) -> Tensor:
        return denoise(network, x_BCTHW, sigma, conditioning, noise_BCTHW, dtype=dtype)

    with clock.denoising(num_steps) as steps:
        return sample_res(steps.watched(denoiser), noise_BCTHW * SIGMA_MAX, sigmas, steps).to(dtype)


def _watched(predict: Predict, steps: Steps) -> Predict:
    """The same, with every x0 that it comes to looked at."""
    latest: list[tuple[Tensor, Tensor]] = []

    def denoiser(x_BCTHW: Tensor, sigma: Tensor) -> Tensor:
        latest[:] = [predict(x_BCTHW, sigma)]
        [(seen, output)] = latest
        return precondition_output(seen.float(), output, sigma)

    look = steps.watched(denoiser)

    def watched(x_BCTHW: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        look(x_BCTHW, sigma)
        return latest.pop()

    return watched
