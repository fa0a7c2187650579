"""A running average of the weights whose memory grows with the steps made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from cosmos_cli.training.recipe import EMARecipe


def exponent(rate: float) -> float:
    """The power gamma whose average has a relative width of `rate`.

    Source: Karras et al. 2023, arXiv:2312.02696, equation 126 (the largest real root of a cubic).
    """
    roots = np.roots([1.0, 7.0, 16.0 - rate**-2, 12.0 - rate**-2])
    return float(roots[np.isreal(roots)].real.max())


def beta(recipe: EMARecipe, step: int) -> float:
    """What step `step`, counted from 0, leaves of the average; nothing by the power if it is the first."""
    if recipe.constant is not None:
        return recipe.constant
    count = step + recipe.iteration_shift
    return float((1 - 1 / (count + 1)) ** (exponent(recipe.rate) + 1)) if count >= 1 else 0.0


class EMA:
    """Averages of trained parameters, float32, sharded as those are.

    Args:
        parameters: by name; those of a name are averaged as long as this lives.
    """

    def __init__(self, recipe: EMARecipe, parameters: Mapping[str, nn.Parameter]) -> None:
        self.recipe = recipe
        self._parameters = dict(parameters)
        self.averages: dict[str, Tensor] = {
            name: parameter.detach().float().clone() for name, parameter in parameters.items()
        }

    @torch.no_grad()
    def update(self, step: int) -> float:
        """Take the weights after step `step` in; what was left of the average before."""
        kept = beta(self.recipe, step)
        averages = [_local(average) for average in self.averages.values()]
        weights = [_local(parameter.detach()).float() for parameter in self._parameters.values()]
        torch._foreach_mul_(averages, kept)
        torch._foreach_add_(averages, weights, alpha=1 - kept)
        return kept

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """A block in which the networks have the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self.averages.items():
            own, other = _local(self._parameters[name].detach()), _local(average)
            held = own.clone()
            own.copy_(other)
            other.copy_(held)


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
