"""What is wrong with a post-training, found before any weight is loaded."""

from __future__ import annotations

from pathlib import Path

from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.import_strings import resolve
from cosmos_cli.models.configs import DiTConfig, MinimalMultiviewDiTConfig, MultiViewConfig
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_cli.training.job_folder import (
    CHECKPOINTS,
    check_room,
    check_same_run,
    complete,
    job_folder,
    latest,
    needed_bytes,
)
from cosmos_cli.training.layout import check_heads, training_layout
from cosmos_cli.training.lora import check_installed
from cosmos_cli.training.memory import Workload, latents_THW
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
        whole_batch(recipe, training_layout(recipe.parallel, settings.num_gpus).dp)

    def check_clips() -> None:
        from cosmos_cli.training.data.checking import check_data

        check_data(recipe)

    def check_network() -> None:
        if (workload := workload_of(recipe)) is not None:
            check_fits(recipe, workload)
        if (num_bytes := disk_bytes(recipe, folder)) is not None:
            check_room(folder, num_bytes)

    report_together(
        check_batch,
        check_network,
        lambda: check_same_run(folder, recipe),
        check_clips,
        lambda: check_installed(recipe.lora),
    )


def workload_of(recipe: Recipe) -> Workload | None:
    """What a recipe trains, in numbers; None where it does not say. Raises InputError: there is no such model."""
    if not recipe.workload:
        return None
    workload: Workload = resolve(recipe.workload, needed_by="the recipe's workload")(recipe)
    return workload


def check_fits(recipe: Recipe, workload: Workload) -> None:
    """Raises InputError: all by which clips, texts and ranks do not fit the networks."""
    data, factor = recipe.data, tokenizer_cost_of(workload.tokenizer).temporal_factor
    problems: list[Problem] = []
    if (data.num_frames - 1) % factor:
        fewer = data.num_frames - 1 - (data.num_frames - 1) % factor + 1
        what = f"{data.num_frames} frames are no clip of this model, which takes 1 and multiples of {factor} after it."
        problems.append(Problem(what, "data.num_frames", f"Give {fewer} or {fewer + factor}."))
    frames, rows, columns = latents_THW(recipe, workload)
    draws = recipe.draws
    if draws.given != "none" and draws.given_max >= frames // data.num_views and not recipe.loss.covers_given:
        what = f"of a clip of {frames // data.num_views} latent frames, no latent frame is left to be made."
        problems.append(Problem(what, "draws.given_max", f"Give {frames // data.num_views - 1} or fewer."))
    for config in (workload.trained, *workload.frozen):
        width = getattr(config, "crossattn_proj_in_channels", None) or config.crossattn_emb_channels
        if width != data.text_channels:
            what = f"texts of {data.text_channels} channels do not fit a network that reads {width}."
            problems.append(Problem(what, "data.text_channels", f"Give {width}."))
        least, most_views = _num_views(config)
        if not least <= data.num_views <= most_views:
            what = f"clips of {data.num_views} views do not fit a network that reads {most_views}."
            problems.append(Problem(what, "data.num_views", f"Give {most_views}."))
        grid = (frames // data.num_views, rows, columns)
        most = tuple(n * patch for n, patch in zip(config.max_grid_THW, config.patch_THW, strict=True))
        if any(n > limit for n, limit in zip(grid, most, strict=True)):
            what = f"a clip of {grid[0]} x {rows} x {columns} latents is larger than the network knows: {most}."
            problems.append(Problem(what, "data", "Give a smaller data.height, data.width or data.num_frames."))
    if problems:
        raise InputError.from_problems(list(dict.fromkeys(problems)))
    check_heads(recipe.parallel, [config.num_heads for config in (workload.trained, *workload.frozen)])


def _num_views(config: DiTConfig) -> tuple[int, int]:
    """Fewest and most views of a clip that a network reads."""
    if isinstance(config, MinimalMultiviewDiTConfig):
        return 1, config.n_cameras_emb
    views = config.n_views if isinstance(config, MultiViewConfig) else 1
    return views, views


def disk_bytes(recipe: Recipe, folder: Path) -> int | None:
    """What a run in a folder still asks for on the disk; None where the recipe does not say what it trains."""
    workload = workload_of(recipe)
    if workload is None:
        return None
    number = cost_of(workload.trained).parameters
    present = complete(folder / CHECKPOINTS)
    return needed_bytes(
        recipe,
        num_parameters=number,
        num_trained=0 if recipe.lora else number,  # adapters are small beside all else
        begin=latest(folder / CHECKPOINTS) or 0,
        num_kept=len(present),
    )
