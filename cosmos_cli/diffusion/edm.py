"""EDM preconditioning: from a network trained on variance-exploding noise to denoised latents.

Noisy latents are x_sigma = x0 + sigma * noise throughout. Given frames enter the network with a little noise of their
own, scaled so that they look the same at every sigma.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cosmos_cli.diffusion.rectified_flow import Conditioning, Scaling

# B batch, C latent channels, T latent frames, H and W latent height and width

SIGMA_DATA = 0.5
"""Standard deviation of the latents that the networks were trained on."""

SIGMA_AUGMENT = 0.001
"""Noise level of given frames at inference."""

Network = Callable[[Tensor, Tensor], Tensor]
"""(scaled latents BCTHW, c_noise) -> raw output BCTHW."""


def scaling(sigma: Tensor, sigma_data: float = SIGMA_DATA) -> Scaling:
    """Preconditioning coefficients at noise level sigma, in sigma's dtype.

    The originals form them in the network's dtype: in bfloat16 they are off by up to 0.6 %, and so is the result.

    Source: Karras et al. 2022, arXiv:2206.00364, table 1; cosmos-transfer1, modules/denoiser_scaling.py.
    """
    variance = sigma**2 + sigma_data**2
    return Scaling(
        c_skip=sigma_data**2 / variance,
        c_out=sigma * sigma_data / variance.sqrt(),
        c_in=1 / variance.sqrt(),
        c_noise=sigma.log() / 4,
    )


def loss_weight(sigma: Tensor, sigma_data: float = SIGMA_DATA) -> Tensor:
    """Weight of the squared x0 error that makes the network's own error count alike at every sigma."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def predict_x0(network: Network, x: Tensor, sigma: Tensor) -> Tensor:
    """Denoised latents x0 out of noisy ones, in the dtype of both.

    Args:
        sigma: a scalar, or one per sample that broadcasts against x; c_noise comes in its shape.
    """
    c = scaling(sigma)
    return precondition_output(x, network(c.c_in * x, c.c_noise), sigma)


def precondition_output(x: Tensor, output: Tensor, sigma: Tensor, sigma_data: float = SIGMA_DATA) -> Tensor:
    """Denoised latents x0 out of the raw output of a network that saw x. `sigma` broadcasts against x."""
    c = scaling(sigma, sigma_data)
    return c.c_skip * x + c.c_out * output


def add_conditioning(
    x_BCTHW: Tensor,
    sigma: Tensor,
    conditioning: Conditioning,
    noise_BCTHW: Tensor,
    sigma_augment: Tensor,
) -> Tensor:
    """Noisy latents with the given frames in their place, at noise level sigma_augment.

    Whatever sigma is, the given frames reach the network as if they were at sigma_augment: they are divided by the
    c_in that the preconditioning will multiply with.

    Args:
        sigma: noise level of x, a scalar or (B, 1, 1, 1, 1).
        noise_BCTHW: standard normal, the same at every step of a sampling loop.
        sigma_augment: a scalar or (B, 1, 1, 1, 1).
    Source: cosmos-transfer1, model/model_v2w.py (behaviour).
    """
    latents, mask = conditioning
    noisy = (latents + noise_BCTHW * sigma_augment) * scaling(sigma_augment).c_in / scaling(sigma).c_in
    return mask * noisy + (1 - mask) * x_BCTHW


def free_below(conditioning: Conditioning, sigma: Tensor, sigma_augment: float | Tensor) -> Conditioning:
    """The conditioning, or none of it once the rest has no more noise than the given frames have.

    From there on all frames are denoised together. The network's condition mask keeps marking the given frames.
    """
    # in numbers: to branch would mean to wait for a GPU
    latents, mask = conditioning
    return Conditioning(latents, mask * (sigma > sigma_augment))


def denoise(
    network: Network,
    x_BCTHW: Tensor,
    sigma: Tensor,
    conditioning: Conditioning | None,
    noise_BCTHW: Tensor | None = None,
    *,
    dtype: torch.dtype,
    sigma_augment: float = SIGMA_AUGMENT,
) -> Tensor:
    """One evaluation: the denoised latents x0, with the given frames replaced by what is known of them.

    Args:
        network: closed over its text, masks and hints.
        x_BCTHW: noisy latents at level sigma.
        sigma: noise level, a scalar.
        conditioning: None if no frame is given.
        noise_BCTHW: standard normal, float32, the same at every step; needed with conditioning.
        dtype: the network's own; latents and coefficients are rounded to it.
        sigma_augment: noise level of the given frames.
    Returns:
        x0_BCTHW of `dtype`.
    Raises:
        ValueError: there is conditioning, but no noise for it.
    Source: cosmos-transfer1, model/model_t2w.py and model/model_v2w.py (behaviour).
    """
    if conditioning is None:
        return predict_x0(network, x_BCTHW.to(dtype), sigma.to(dtype))
    if noise_BCTHW is None:
        raise ValueError("given frames need noise")
    given = Conditioning(conditioning.latents_BCTHW.to(dtype), conditioning.mask_B1T11.to(dtype))
    given = free_below(given, sigma, sigma_augment)
    augment = torch.full((), sigma_augment, dtype=dtype, device=x_BCTHW.device)
    x_BCTHW = add_conditioning(x_BCTHW, sigma, given, noise_BCTHW, augment)
    x0 = predict_x0(network, x_BCTHW.to(dtype), sigma.to(dtype))
    return given.mask_B1T11 * given.latents_BCTHW + (1 - given.mask_B1T11) * x0
