"""What a post-training would be: its recipe, the memory of every rank, and what it will write. Loads nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_cli import output
from cosmos_cli.runtime.cards import parse_card
from cosmos_cli.runtime.machine import find_machine
from cosmos_cli.training.checks import check_fits, disk_bytes, whole_batch, workload_of
from cosmos_cli.training.job_folder import CHECKPOINTS, differences, iteration_name, job_folder, latest
from cosmos_cli.training.layout import training_layout
from cosmos_cli.training.memory import MemoryPlan, plan
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.requests import PostTraining, TrainingSettings, precision_on


@dataclass(frozen=True)
class Ahead:
    """What a post-training would be.

    changes: fields that differ from the named recipe, with their values there and here.
    memory: None where the recipe does not say what it trains in numbers.
    begins_at: steps that are made already. global_batch_size: clips of a step.
    disk_bytes: of checkpoints and exports; None where that is not known.
    """

    recipe: Recipe
    changes: dict[str, tuple[Any, Any]]
    folder: Path
    global_batch_size: int
    memory: MemoryPlan | None
    begins_at: int
    disk_bytes: int | None

    def text(self) -> str:
        """For people."""
        recipe = self.recipe
        lines = [recipe.help] if recipe.help else []
        lines += [output.table(["field", "value", "in the recipe"], self._rows()), ""]
        lines.append(f"{self.global_batch_size} clips a step, {recipe.trainer.max_iter} steps")
        if recipe.schedule.warm_up_steps[0] > recipe.trainer.max_iter:
            lines.append("note: the warm-up is longer than the run, which never reaches its full rate")
        lines += [self.memory.text()] if self.memory is not None else ["nothing is known of its memory"]
        lines += ["", *self._written()]
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "recipe": json.loads(self.recipe.model_dump_json()),
            "changes": {name: {"value": own, "in_recipe": other} for name, (own, other) in self.changes.items()},
            "folder": str(self.folder),
            "global_batch_size": self.global_batch_size,
            "begins_at": self.begins_at,
            "disk_bytes": self.disk_bytes,
            "memory": None if self.memory is None else self.memory.document(),
        }

    def _rows(self) -> list[list[str]]:
        """Every field, and what the named recipe has where that is another value."""

        def flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
            found: list[tuple[str, Any]] = []
            for key, value in values.items():
                found += flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
            return found

        values = json.loads(self.recipe.model_dump_json(exclude={"help"}))
        return [
            [name, json.dumps(value), json.dumps(self.changes[name][1]) if name in self.changes else ""]
            for name, value in flat(values)
        ]

    def _written(self) -> list[str]:
        recipe, folder = self.recipe, self.folder / CHECKPOINTS
        every = recipe.checkpoint.export_iter or recipe.checkpoint.save_iter
        name = iteration_name(min(every, recipe.trainer.max_iter))
        kinds = ("_lora", "_ema_lora") if recipe.lora else ("_reg_model.pt", "_ema_model.pt")
        lines = [f"writes every {every} steps {folder}/{name}{kind}" for kind in kinds[: 1 + recipe.ema.enabled]]
        lines.append(
            f"and every {recipe.checkpoint.save_iter} steps a checkpoint to go on from, of which "
            f"{recipe.checkpoint.keep} stay"
        )
        if self.disk_bytes is not None:
            lines.append(f"{self.disk_bytes / 1e9:,.1f} GB on the disk in all")
        if self.begins_at:
            lines.append(f"goes on after step {self.begins_at}")
        return lines


def look_ahead(named: Recipe, recipe: Recipe, training: PostTraining, settings: TrainingSettings) -> Ahead:
    """See the module.

    Raises:
        InputError: the ranks do not divide the work.
    """
    num_ranks = settings.num_gpus * (training.nodes if training.slurm or training.nodes > 1 else 1)
    folder = job_folder(settings.output_root, recipe.job)
    layout = training_layout(recipe.parallel, num_ranks)
    begin = latest(folder / CHECKPOINTS) or 0
    memory = None
    if (workload := workload_of(recipe)) is not None:
        check_fits(recipe, workload)
        device_bytes, precision = _device(recipe, training, settings)
        memory = plan(recipe, workload, num_ranks, precision=precision, device_bytes=device_bytes)
    return Ahead(
        recipe,
        differences(recipe, named),
        folder,
        whole_batch(recipe, layout.dp),
        memory,
        begin,
        disk_bytes(recipe, folder),
    )


def _device(recipe: Recipe, training: PostTraining, settings: TrainingSettings) -> tuple[float | None, str]:
    """Memory of a rank's device, None for a CPU, and the precision that it computes in."""
    if training.gpu_memory is not None:
        return float(parse_card(training.gpu_memory)[1]), precision_on(recipe, settings.precision, "cuda")
    machine = find_machine(settings.device)
    device_bytes = float(machine.device_bytes) if machine.kind == "cuda" else None
    return device_bytes, precision_on(recipe, settings.precision, machine.kind)
