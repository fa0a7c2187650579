"""What a training tells: a line on the terminal, every step in a file."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cosmos_cli import output
from cosmos_cli.files.failures import writing
from cosmos_cli.files.writing import replacing
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.trainer import Step

METRICS = "metrics.jsonl"


class Log:
    """Of the main rank; the others have one that does nothing.

    Args:
        folder: of the run.
        first_step: steps made so far; what the file has of later ones is from a run that was cut, and goes.
    """

    def __init__(self, folder: Path, recipe: Recipe, *, first_step: int, is_main: bool) -> None:
        self._path, self._recipe, self._is_main = folder / METRICS, recipe, is_main
        self._seconds: list[float] = []
        if is_main:
            kept = [line for line in read_metrics(folder) if line["iteration"] <= first_step]
            with writing(self._path), replacing(self._path) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def step(self, step: Step, *, seconds: float, num_tokens: int, memory_bytes: int | None) -> None:
        """Tell of a step."""
        if not self._is_main:
            return
        line: dict[str, Any] = {
            **asdict(step),
            "seconds": round(seconds, 4),
            "tokens_per_s": round(num_tokens / max(seconds, 1e-9), 1),
            "memory_bytes": memory_bytes,
            "time": time.time(),
        }
        with writing(self._path), self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._seconds = [*self._seconds[-20:], seconds]
        total, every = self._recipe.trainer.max_iter, self._recipe.log.logging_iter
        if step.iteration % every == 0 or step.iteration in (1, total):
            mean = sum(self._seconds) / len(self._seconds)
            memory = "" if memory_bytes is None else f", {memory_bytes / 2**30:.1f} GiB"
            left = (total - step.iteration) * mean
            output.status(
                f"[{step.iteration}/{total}] loss {step.loss:.4f}, gradient {step.gradient_norm:.3g}, "
                f"{mean:.2f} s/step, {num_tokens / max(mean, 1e-9):,.0f} tokens/s{memory}, {_duration(left)} left"
            )


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Every step of a run as `metrics.jsonl` has it; a line that was cut at the end is left out."""
    found: list[dict[str, Any]] = []
    path = folder / METRICS
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
