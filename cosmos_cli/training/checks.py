"""What is wrong with a post-training, found before any weight is loaded."""

from __future__ import annotations

from pathlib import Path

from cosmos_cli.errors import InputError, report_together
from cosmos_cli.models.costs import cost_of
from cosmos_cli.registry import resolve
from cosmos_cli.training.job_folder import (
    CHECKPOINTS,
    check_room,
    check_same_run,
    complete,
    job_folder,
    latest,
    needed_bytes,
)
from cosmos_cli.training.layout import training_layout
from cosmos_cli.training.lora import check_installed
from cosmos_cli.training.memory import Workload
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.requests import TrainingSettings


def whole_batch(recipe: Recipe, num_groups: int) -> int:
    """Clips of one step over all ranks.

    Args:
        num_groups: data-parallel ranks.
    Raises:
        InputError: the clips do not divide among ranks and passes.
    """
    data = recipe.data
    at_once = data.batch_size * num_groups
    if data.global_batch_size is None:
        return at_once * recipe.trainer.grad_accum_iter
    if data.global_batch_size % at_once:
        raise InputError(
            f"{data.global_batch_size} clips a step do not divide among {num_groups} data-parallel ranks with "
            f"{data.batch_size} at a time.",
            where="data.global_batch_size",
            fix=f"Give a multiple of {at_once}, another data.batch_size, or another number of ranks.",
        )
    return data.global_batch_size


def check_run(recipe: Recipe, settings: TrainingSettings) -> None:
    """Raises InputError: all that is wrong with the recipe on this machine, its data and its folder."""
    folder = job_folder(settings.output_root, recipe.job)

    def check_batch() -> None:
        whole_batch(recipe, training_layout(recipe.parallel, settings.num_ranks).dp)

    def check_disk() -> None:
        if (num_bytes := disk_bytes(recipe, folder)) is not None:
            check_room(folder, num_bytes)

    def check_clips() -> None:
        from cosmos_cli.training.data.checking import check_data

        check_data(recipe)

    report_together(
        check_batch,
        lambda: check_same_run(folder, recipe),
        check_disk,
        check_clips,
        lambda: check_installed(recipe.lora),
    )


def disk_bytes(recipe: Recipe, folder: Path) -> int | None:
    """What a run in a folder still asks for on the disk; None where the recipe does not say what it trains."""
    if not recipe.workload:
        return None
    workload: Workload = resolve(recipe.workload, needed_by="the recipe's workload")(recipe)
    number = cost_of(workload.trained).parameters
    present = complete(folder / CHECKPOINTS)
    return needed_bytes(
        recipe,
        num_parameters=number,
        num_trained=0 if recipe.lora else number,  # adapters are small beside all else
        begin=latest(folder / CHECKPOINTS) or 0,
        num_kept=len(present),
    )
