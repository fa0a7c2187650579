"""A whole post-training: networks, data, the loop, checkpoints, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_cli.runtime.devices import choose_device, computing
from cosmos_cli.training.parallel import Parallel
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.requests import TrainingSettings


@dataclass(frozen=True)
class Outcome:
    """How a post-training ended. exit_code: 0, or that of a run that goes on when it is started again."""

    folder: Path
    iteration: int
    max_iter: int
    loss: float | None
    exported: tuple[Path, ...]
    exit_code: int = 0

    def summary(self) -> str:
        loss = "" if self.loss is None else f", loss {self.loss:.4f}"
        if self.exit_code:
            return (
                f"Stopped after {self.iteration} of {self.max_iter} steps{loss}; start it again to go on: {self.folder}"
            )
        return f"Trained {self.iteration} steps{loss}: {self.folder}"

    def document(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "iteration": self.iteration,
            "max_iter": self.max_iter,
            "loss": self.loss,
            "exported": [str(path) for path in self.exported],
            "is_complete": not self.exit_code,
        }


def train(named: Recipe, recipe: Recipe, settings: TrainingSettings) -> Outcome:
    """Train until the recipe's last step, or until a signal asks to stop; every rank must call this.

    Args:
        named: the recipe as it is registered, to tell what was changed.
    """
    device = choose_device(settings.device)
    with computing(device, settings.shortcuts):
        parallel = Parallel.form(recipe.parallel, device, precision_of(recipe, settings, device))
        return _train(named, recipe, settings, parallel)
