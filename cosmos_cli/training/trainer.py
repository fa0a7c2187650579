"""One step of a post-training, and the loop around it."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cosmos_cli.checkpoints.keys import without_shells
from cosmos_cli.errors import CosmosError
from cosmos_cli.training import optimizer
from cosmos_cli.training.checkpoints import model_tensors, optimizer_tensors
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.ema import EMA
from cosmos_cli.training.gradients import clear_non_finite, total_norm
from cosmos_cli.training.parallel import Parallel
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.task import Batch, Task

_SPIKE_HISTORY = 50
"""Steps whose gradient norms tell what is usual; before so many, none is a spike."""


@dataclass(frozen=True)
class Step:
    """What happened in a step.

    iteration: steps made so far, this one counted. rate: of the optimizer. ema_kept: what the average kept of itself.
    parts: further scalars of the loss. is_skipped: the weights stayed as they were.
    """

    iteration: int
    loss: float
    gradient_norm: float
    rate: float
    ema_kept: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    is_skipped: bool = False


class Trainer:
    """Holds what changes over a post-training: weights, moments, averages, and how many steps were made.

    Args:
        task: with its networks where they are to be trained, sharded if they are.
        parallel: the ranks that train together.
    """

    def __init__(self, recipe: Recipe, task: Task, parallel: Parallel) -> None:
        self.recipe, self.task, self.parallel = recipe, task, parallel
        self.parameters = trained_parameters(task.networks)
        self.optimizer = optimizer.adamw(recipe.optimizer, self.parameters)
        self.ema = EMA(recipe.ema, self.parameters) if recipe.ema.enabled else None
        self.iteration = 0
        self._guard = Guard(recipe)

    def step(self, micro_batches: Sequence[tuple[Batch, Draws]]) -> Step:
        """Forward and backward over all micro-batches, then clip, optimizer, schedule and average, in this order.

        Raises:
            CosmosError: too many steps in a row had no finite loss.
        """
        recipe, parameters = self.recipe, list(self.parameters.values())
        losses: list[Tensor] = []
        parts: dict[str, list[Tensor]] = {}
        for index, (batch, draws) in enumerate(micro_batches):
            self.parallel.accumulating(self.task, last=index == len(micro_batches) - 1)
            loss = self.task.loss(batch, draws)
            (loss.total / len(micro_batches)).backward()
            losses.append(loss.total.detach())
            for name, part in loss.parts.items():
                parts.setdefault(name, []).append(part)
        means = self._means([torch.stack(losses), *(torch.stack(each) for each in parts.values())])
        clear_non_finite(parameters)
        norm = total_norm(parameters)
        rate = recipe.optimizer.lr * optimizer.rate_factor(recipe.schedule, self.iteration)
        is_skipped = self._guard.refuses(means[0], float(norm))
        kept = None
        if not is_skipped:
            if recipe.optimizer.clip_norm is not None:
                optimizer.clip(parameters, norm, recipe.optimizer.clip_norm)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            kept = self.ema.update(self.iteration) if self.ema is not None else None
        self.optimizer.zero_grad()
        self.iteration += 1
        return Step(
            self.iteration, means[0], float(norm), rate, kept, dict(zip(parts, means[1:], strict=True)), is_skipped
        )

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All that a checkpoint holds, by group and name; filling them resumes the run."""
        return {
            "model": model_tensors(self.task.networks),
            "ema": {} if self.ema is None else self.ema.averages,
            "optimizer": optimizer_tensors(self.optimizer, self.parameters.items()),
        }

    def plain(self) -> dict[str, Any]:
        """What a checkpoint holds beside the tensors."""
        return {
            "iteration": self.iteration,
            "guard": {"norms": list(self._guard.norms), "skipped": self._guard.skipped},
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Go on from a checkpoint whose tensors have been filled in."""
        self.iteration = plain["iteration"]
        self._guard.norms.extend(plain["guard"]["norms"])
        self._guard.skipped = plain["guard"]["skipped"]

    def _means(self, scalars: Iterable[Tensor]) -> list[float]:
        """Over micro-batches and ranks."""
        means: list[float] = self.parallel.mean(torch.stack([scalar.float().mean() for scalar in scalars])).tolist()
        return means


class Guard:
    """Which steps are left out: those without a finite loss, and those whose gradient is far out of the usual."""

    def __init__(self, recipe: Recipe) -> None:
        self._factor, self._most = recipe.trainer.spike_factor, recipe.trainer.max_skipped
        self.norms: deque[float] = deque(maxlen=_SPIKE_HISTORY)
        self.skipped = 0

    def refuses(self, loss: float, norm: float) -> bool:
        """Whether a step of this loss and this gradient norm is left out; the same on every rank.

        Raises:
            CosmosError: as many in a row as the recipe allows were left out.
        """
        is_spike = (
            self._factor > 0
            and len(self.norms) == _SPIKE_HISTORY
            and norm > self._factor * statistics.median(self.norms)
        )
        if math.isfinite(loss) and not is_spike:
            self.norms.append(norm)
            self.skipped = 0
            return False
        self.skipped += 1
        if self.skipped >= self._most:
            raise CosmosError(
                f"{self.skipped} steps in a row had no finite loss, or far too large a gradient.",
                fix="Start again from the last checkpoint with a lower optimizer.lr, or look at the data.",
            )
        return True


def trained_parameters(networks: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that learn, by the name under which they are published."""
    named = {name: parameter for name, parameter in networks.named_parameters() if parameter.requires_grad}
    strip = without_shells((), named)
    return {strip(name): parameter for name, parameter in named.items()}
