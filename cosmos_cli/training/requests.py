"""What the command line says of a post-training beside its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field, field_validator

from cosmos_cli.requests import Flag, StrictModel
from cosmos_cli.runtime.cards import parse_card
from cosmos_cli.settings import MachineSettings
from cosmos_cli.training.recipe import Recipe


def _experiments(context: typer.Context) -> list[str]:
    from cosmos_cli.training.experiments import experiments

    family = context.parent.info_name if context.parent else None
    return list(experiments(family)) if family else []


class PostTraining(StrictModel):
    """Which recipe, with which changes."""

    overrides: Annotated[tuple[str, ...], Flag(argument=True)] = ()
    """Changes of the recipe after `--`, such as trainer.max_iter=500; experiment=NAME too, as the originals have it."""
    experiment: Annotated[str | None, Flag(complete=_experiments)] = None
    """Name of the recipe; `recipes` lists them."""
    config: Annotated[str | None, Flag(default="none is needed")] = None
    """Accepted from older command lines; recipes have no configuration file."""
    dry_run: Annotated[bool, Flag(old_names=("--dryrun",))] = False
    """Show the recipe with all changes, the memory that each rank needs, and what will be written; train nothing."""
    gpu_memory: Annotated[str | None, Flag(aliases=("--for",), default="that of this machine's GPUs")] = None
    """GPU that --dry-run shall plan for: a card such as h100 or rtx-4090, or 80GB of any; a number alone is in GiB."""
    slurm: bool = False
    """Print a batch file for Slurm, which goes on after a time limit or a lost node; train nothing."""
    nodes: int = Field(default=1, ge=1)
    """Machines that the batch file asks for, with --num-gpus on each."""
    time_limit: str = Field(default="24:00:00", pattern=r"^[\d:-]+$")
    """Time limit in the batch file."""

    @field_validator("gpu_memory")
    @classmethod
    def _card(cls, value: str | None) -> str | None:
        if value is not None:
            parse_card(value)
        return value


class TrainingSettings(MachineSettings):
    """Where a post-training computes and writes."""

    output_root: Annotated[Path, Flag(env="OUTPUT_ROOT")] = Path("checkpoints")
    """Folder below which the run writes PROJECT/GROUP/NAME."""


def precision_on(recipe: Recipe, asked: str, kind: str) -> str:
    """The precision of a run's arithmetic: as asked for, else the recipe's, and float32 on a CPU.

    Args:
        kind: of the device, "cuda" or "cpu".
    """
    if asked != "auto":
        return asked
    return "float32" if kind == "cpu" else recipe.trainer.precision
