"""What the command line says of a post-training beside its recipe, with the options of NeMo's scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cosmos_cli.requests import Flag
from cosmos_cli.training.requests import PostTraining, TrainingSettings


class NemoPostTraining(PostTraining):
    """Which recipe, with which changes, and what trains it."""

    overrides: Annotated[tuple[str, ...], Flag(argument=True)] = ()
    """Changes of the recipe by the names of NeMo or of this project: data.path=cached_data optim.config.lr=1e-5."""
    factory: Annotated[
        str | None, Flag(aliases=("-f",), default="cosmos_diffusion_7b_text2world_finetune, as general.py has it")
    ] = None
    """Name of the recipe; another name of --experiment."""
    yes: Annotated[bool, Flag(aliases=("--no-confirm", "-y"))] = False
    """Accepted from older command lines; nothing is asked."""
    backend: Literal["native", "nemo"] = "native"
    """What trains: this project, or NeMo where it is installed with these models, by its own script."""
    nemo_repo: Annotated[Path | None, Flag(default="this folder, /workspace/Cosmos or /opt/Cosmos")] = None
    """Clone of the Cosmos repository in which --backend nemo finds that script."""


class NemoTrainingSettings(TrainingSettings):
    """Where a post-training computes and writes."""

    output_root: Annotated[Path, Flag(env="OUTPUT_ROOT", default="this folder")] = Path()
    """Folder below which the run writes nemo_experiments/FACTORY, unless log.log_dir names its folder."""
