"""`cosmos nemo post-train`: from a command line of NeMo's scripts to a recipe, and on to what trains it."""

from __future__ import annotations

from collections.abc import Collection
from math import gcd
from pathlib import Path

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.runtime.workers.rank import find_rank
from cosmos_cli.training import experiments
from cosmos_cli.training.checks import workload_of
from cosmos_cli.training.command import run_recipe
from cosmos_cli.training.experiments import Change, with_changes
from cosmos_cli.training.recipe import Recipe
from cosmos_plugins.nemo_bridge.overrides import changes_of
from cosmos_plugins.nemo_bridge.prepared_size import size_in
from cosmos_plugins.nemo_bridge.recipes import DEFAULT_FACTORY, NOT_HERE, PREPARED, NemoRecipe
from cosmos_plugins.nemo_bridge.training_requests import NemoPostTraining, NemoTrainingSettings

FAMILY = "nemo"


def run(training: NemoPostTraining, settings: NemoTrainingSettings) -> None:
    """Post-train, or show what that would be.

    Raises:
        InputError: what is wrong with the recipe, its data, folder or machine, before anything loads.
        CheckpointError: the weights to begin with are not there, or of another network.
        typer.Exit: a signal asked the run to stop; it was saved, and goes on when it is started again.
    """
    name, overrides = factory_of(training)
    if training.backend == "nemo":
        from cosmos_plugins.nemo_bridge.backend import launch

        launch(name, overrides, training, settings)
        return
    if name in NOT_HERE:
        why, instead = NOT_HERE[name]
        raise InputError(f"{name} is not here: {why}", where="--factory", fix=instead)
    named = experiments.find(FAMILY, name)
    is_elsewhere = training.dry_run or training.slurm
    recipe = recipe_of(named, overrides, settings.num_gpus * (training.nodes if is_elsewhere else 1))
    if not is_elsewhere and _speaks_first() and isinstance(recipe, NemoRecipe):
        from cosmos_plugins.nemo_bridge.start import check_start

        check_start(recipe, settings.checkpoint_dir)
    run_recipe(FAMILY, named, recipe, training, settings)


def factory_of(training: NemoPostTraining) -> tuple[str, list[str]]:
    """The name of the recipe, and the other overrides.

    Raises:
        InputError: several are named.
    """
    begins = "experiment="
    overrides = [each for each in training.overrides if not each.startswith(begins)]
    written = [each.removeprefix(begins) for each in training.overrides if each.startswith(begins)]
    names = {name for name in (training.factory, training.experiment, *written) if name}
    if len(names) > 1:
        raise InputError(f"{' and '.join(sorted(names))} are named.", where="--factory", fix="Name one.")
    if not names:
        output.notice(f"no factory is named: it is {DEFAULT_FACTORY}")
    return (names.pop() if names else DEFAULT_FACTORY), overrides


def recipe_of(named: Recipe, overrides: Collection[str], num_ranks: int) -> Recipe:
    """The recipe with all changes, its size that of the prepared samples, its layers shared as the ranks allow.

    Raises:
        InputError: an override does not fit, no data is named, or a batch of several clips is asked for.
    """
    changes = changes_of(named, overrides)
    recipe = with_changes(named, changes.values())
    if recipe.data.dataset_dir and "data.source" not in changes:
        folder = Path(recipe.data.dataset_dir).expanduser()
        found = {"data.source": PREPARED, **size_in(folder)}
        changes |= {field: Change(field, field, value) for field, value in found.items() if field not in changes}
        recipe = with_changes(named, changes.values())
    elif recipe.data.source == PREPARED:
        raise InputError(
            "no folder of prepared samples is named.",
            where="data.path",
            fix="Pass data.path=FOLDER, which `cosmos nemo prepare-dataset` fills.",
        )
    if isinstance(recipe, NemoRecipe) and recipe.data.batch_size != 1:
        raise InputError(
            f"is {recipe.data.batch_size}, but a forward pass takes one clip.",
            where=changes["data.batch_size"].written if "data.batch_size" in changes else "data.batch_size",
            fix="Give the clips of a step by data.global_batch_size; they are spread over the ranks and accumulated.",
        )
    if "parallel.tp" not in changes:
        recipe = with_changes(recipe, [Change("parallel.tp", "parallel.tp", _fitting(recipe, num_ranks))])
    return recipe


def _fitting(recipe: Recipe, num_ranks: int) -> int:
    """Ranks that share every layer: as many as in the recipe, or as many of them as there are and as divide heads."""
    tp, cp = recipe.parallel.tp, recipe.parallel.cp
    workload = workload_of(recipe)
    if num_ranks % cp or workload is None:
        return tp
    most = gcd(tp, num_ranks // cp)
    heads = workload.trained.num_heads
    return max((n for n in range(1, most + 1) if most % n == 0 and heads % (n * cp) == 0), default=tp)


def _speaks_first() -> bool:
    """Whether this process finds what is wrong before others begin."""
    own = find_rank()
    return own is None or (own.rank == 0 and own.launcher_pid is None)
