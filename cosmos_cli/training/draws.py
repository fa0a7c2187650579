"""What chance decides in a step, as one object: drawn here, or handed in by a test.

A clip's draws depend on the seed, the step and the clip's place in the step's whole batch alone, so they are the same
however many ranks share the batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from cosmos_cli.training.recipe import DrawsRecipe

# B batch, C latent channels, T latent frames of all views, H and W latent height and width


@dataclass(frozen=True)
class Draws:
    """What chance has decided for the clips of one forward pass.

    sigma_B: noise level, float32, with every factor.
    noise_BCTHW: standard normal, float32.
    text_keep_B: 0 where the text is dropped, else 1.
    num_given_B: given latent frames at the start of every view, integers; None if the network is given none.
    augment_sigma_B, augment_noise_BCTHW: noise level of given frames, and the noise; None leaves them clean.
    """

    sigma_B: Tensor
    noise_BCTHW: Tensor
    text_keep_B: Tensor
    num_given_B: Tensor | None = None
    augment_sigma_B: Tensor | None = None
    augment_noise_BCTHW: Tensor | None = None

    def to(self, device: torch.device) -> Draws:
        """The same draws there."""
        return _each(lambda tensors: None if tensors[0] is None else tensors[0].to(device), [self])


def draw(recipe: DrawsRecipe, shape_CTHW: Sequence[int], *, seed: int, step: int, places: Sequence[int]) -> Draws:
    """The draws of some clips of a step, on the CPU, whose generator is the same everywhere.

    Args:
        shape_CTHW: of a clip's latents.
        step: from 0. places: of these clips in the step's whole batch.
    """
    common = _generator(seed, step)
    num_given = int(torch.randint(recipe.given_min, recipe.given_max + 1, (), generator=common))
    clips = [_draw_clip(recipe, shape_CTHW, _generator(seed, step, place), num_given) for place in places]
    return _each(_stacked, clips)


def _draw_clip(recipe: DrawsRecipe, shape: Sequence[int], generator: torch.Generator, num_given: int) -> Draws:
    """Of one clip, without a batch axis, in the originals' order: text, given frames, noise, level, augmentation."""
    keep = (torch.rand((), generator=generator) >= recipe.text_dropout).float()
    own_given = torch.randint(recipe.given_min, recipe.given_max + 1, (), generator=generator)
    noise = torch.randn(*shape, generator=generator)
    sigma = _log_normal(recipe.sigma_mean, recipe.sigma_std, generator) * recipe.sigma_multiplier
    if recipe.high_sigma_ratio:
        is_high = torch.rand((), generator=generator) < recipe.high_sigma_ratio
        low, high = (math.log(bound) for bound in recipe.high_sigma_range)
        level = (low + (high - low) * torch.rand((), generator=generator)).exp()
        sigma = torch.where(is_high, level, sigma)
    draws = Draws(sigma, noise, keep)
    if recipe.given == "none":
        return draws
    given = own_given if recipe.given == "per-clip" else torch.tensor(num_given)
    if recipe.augment_mean is None:
        return Draws(sigma, noise, keep, given)
    augment = _log_normal(recipe.augment_mean, recipe.augment_std, generator)
    return Draws(sigma, noise, keep, given, augment, torch.randn(*shape, generator=generator))


def _log_normal(mean: float, std: float, generator: torch.Generator) -> Tensor:
    return (mean + std * torch.randn((), generator=generator, dtype=torch.float64)).exp().float()


def _generator(*numbers: int) -> torch.Generator:
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _each(make: Callable[[list[Tensor | None]], Tensor | None], draws: Sequence[Draws]) -> Draws:
    made: dict[str, Any] = {each.name: make([getattr(one, each.name) for one in draws]) for each in fields(Draws)}
    return Draws(**made)


def _stacked(tensors: Sequence[Tensor | None]) -> Tensor | None:
    given = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(given) if given else None
