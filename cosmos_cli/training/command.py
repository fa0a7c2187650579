"""`post-train`, `recipes` and `prepare-data`, which a family's `commands.py` adds to its app. Without torch."""

from __future__ import annotations

import json
from typing import Any

import typer

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.flags import JsonFlag
from cosmos_cli.request_options import request_options
from cosmos_cli.runtime.workers.launch import check_workers, spread
from cosmos_cli.training import experiments
from cosmos_cli.training.data import prepare_command
from cosmos_cli.training.data.prepare_requests import Preparation, PreparationSettings
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.requests import PostTraining, TrainingSettings
from cosmos_cli.training.signals import Stopping


def add_commands(app: typer.Typer, family: str, *, tiny_root: str) -> None:
    """Add `post-train`, `recipes` and `prepare-data` to a family's app.

    Args:
        tiny_root: import string of the checkpoint folder of its tiny model.
    """

    @app.command("post-train")
    @request_options(PostTraining, TrainingSettings)
    def post_train(training: PostTraining, settings: TrainingSettings) -> None:
        """Go on training a published model by a recipe; started again, it goes on where it stopped."""
        run(family, training, settings)

    @app.command("recipes")
    def recipes(json: JsonFlag = False) -> None:
        """List the post-trainings, those of other packages too."""
        list_recipes(family)

    @app.command("prepare-data")
    @request_options(Preparation, PreparationSettings)
    def prepare_data(preparation: Preparation, settings: PreparationSettings) -> None:
        """Encode the captions of a data set for training; started again, it goes on where it stopped."""
        prepare_command.run(preparation, settings, tiny_root)


def run(family: str, training: PostTraining, settings: TrainingSettings) -> None:
    """Post-train, or show what that would be; errors as for `run_recipe`."""
    named, recipe = recipe_of(family, training)
    run_recipe(family, named, recipe, training, settings)


def run_recipe(family: str, named: Recipe, recipe: Recipe, training: PostTraining, settings: TrainingSettings) -> None:
    """Post-train by a recipe, or show what that would be.

    Args:
        named: the recipe before it was changed, to tell what was.
    Raises:
        InputError: what is wrong with the recipe, the data, the folder or the machine, before anything loads.
        typer.Exit: a signal asked the run to stop; it was saved, and goes on when it is started again.
    """
    if training.dry_run:
        from cosmos_cli.training.look_ahead import look_ahead

        ahead = look_ahead(named, recipe, training, settings)
        output.result(ahead.text(), {"status": "ok", **ahead.document()})
        return
    if training.slurm:
        from cosmos_cli.training.slurm import batch_file

        output.text(batch_file(family, named, recipe, training, settings))
        return
    own = check_workers(settings.num_gpus, settings.device)
    if own is None or (own.rank == 0 and own.launcher_pid is None):  # a launcher has checked for its workers
        from cosmos_cli.training.checks import check_run

        check_run(recipe, settings)
    with Stopping() as stopping, spread(settings.num_gpus, settings.device):
        from cosmos_cli.training.run import train

        outcome = train(named, recipe, settings, stopping)
    output.result(outcome.summary(), {"status": "ok", **outcome.document()})
    if stopping.exit_code:
        raise typer.Exit(stopping.exit_code)


def recipe_of(family: str, training: PostTraining) -> tuple[Recipe, Recipe]:
    """The recipe that was named, and that with all changes.

    Raises:
        InputError: none was named, there is none of that name, or a change does not fit.
    """
    named, overrides = experiments.split(training.overrides)
    name = training.experiment or named
    if training.experiment and named and training.experiment != named:
        raise InputError(
            f"names {training.experiment}, but the overrides name {named}.", where="--experiment", fix="Name one."
        )
    if name is None:
        raise InputError(
            "no experiment is named.",
            where="--experiment",
            fix=f"Pass --experiment NAME; cosmos {family} recipes lists them.",
        )
    found = experiments.find(family, name)
    return found, experiments.changed(found, overrides)


def list_recipes(family: str) -> None:
    """Tell of every recipe of a family."""
    known = experiments.experiments(family)
    rows = [[name, recipe.model.size, _extent(recipe), recipe.help] for name, recipe in known.items()]
    text = output.table(["experiment", "size", "clips", "what it is"], rows) if rows else "No recipes."
    document: dict[str, Any] = {name: json.loads(recipe.model_dump_json()) for name, recipe in known.items()}
    output.result(text, {"status": "ok", "recipes": document})


def _extent(recipe: Recipe) -> str:
    data = recipe.data
    views = f"{data.num_views} x " if data.num_views > 1 else ""
    return f"{views}{data.num_frames} frames, {data.height} x {data.width}"
