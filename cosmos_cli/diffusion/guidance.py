"""Classifier-free guidance."""

from __future__ import annotations

from torch import Tensor


def guide(cond: Tensor, uncond: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance in Cosmos's convention: cond + guidance * (cond - uncond).

    So 0 is unguided, and `guidance_scale` of diffusers is `guidance + 1`.

    Args:
        cond: denoised latents predicted with the prompt, float32.
        uncond: the same with the negative prompt, same shape.
        guidance: strength, >= 0, no unit.
    Raises:
        ValueError: the two predictions differ in shape.
    Source: cosmos-predict2, pipelines/video2world.py; Ho and Salimans 2022, arXiv:2207.12598, eq. 6.
    """
    if cond.shape != uncond.shape:
        raise ValueError(f"guidance between predictions of shape {tuple(cond.shape)} and {tuple(uncond.shape)}")
    return cond + guidance * (cond - uncond)
