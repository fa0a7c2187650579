"""Where else the numbers of a run are told: TensorBoard when asked for, Weights & Biases when there is a key."""

from __future__ import annotations

import importlib
import importlib.util
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.files.side_work import reason
from cosmos_cli.files.writing import replacing
from cosmos_cli.training.job_folder import recorded
from cosmos_cli.training.recipe import Recipe

KEY_VARIABLE = "WANDB_API_KEY"
_PROJECT_VARIABLES = ("WANDB_PROJECT", "WANDB_PROJECT_NAME")
"""The second is what guides of the originals set; Weights & Biases itself knows the first alone."""
_RUN_VARIABLE = "WANDB_RUN_ID"
_INIT_TIMEOUT_S = 60
_RUN_ID = "wandb_run_id.txt"


class Tracker(Protocol):
    """Takes numbers by name at each step."""

    def log(self, iteration: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def check_trackers(recipe: Recipe) -> None:
    """Raises InputError if the recipe asks for a package that is not installed."""
    if recipe.log.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise InputError(
            "needs the package tensorboard.",
            where="log.tensorboard",
            fix="pip install 'cosmos-cli[tensorboard]'",
        )


def open_trackers(job: Path, recipe: Recipe, start: int) -> list[Tracker]:
    """Those that this run tells; one that cannot be opened costs a note.

    Args:
        start: completed steps, where numbers go on.
    """
    check_trackers(recipe)
    found: list[Tracker] = []
    if recipe.log.tensorboard:
        found += _opened(lambda: _TensorBoard(job / "tensorboard", start), "TensorBoard")
    if os.environ.get(KEY_VARIABLE):
        if importlib.util.find_spec("wandb") is None:
            output.notice(f"{KEY_VARIABLE} is set, but wandb is not installed: pip install 'cosmos-cli[wandb]'")
        else:
            found += _opened(lambda: _WandB(job, recipe), "Weights & Biases")
    return found


def _opened(make: Callable[[], Tracker], name: str) -> list[Tracker]:
    try:
        return [_Careful(make(), name)]
    except Exception as error:  # the border: a service that cannot be reached, in its client's words
        output.notice(f"nothing is told to {name}: {reason(error)}")
        return []


class _Careful:
    """A tracker whose failure costs a note, once, and not the run."""

    def __init__(self, tracker: Tracker, name: str) -> None:
        self._tracker: Tracker | None = tracker
        self._name = name

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        self._try(lambda tracker: tracker.log(iteration, values))

    def close(self) -> None:
        self._try(lambda tracker: tracker.close())

    def _try(self, work: Callable[[Tracker], None]) -> None:
        if self._tracker is None:
            return
        try:
            work(self._tracker)
        except Exception as error:  # the border, as above
            self._tracker = None
            output.notice(f"nothing more is told to {self._name}: {reason(error)}")


class _TensorBoard:
    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # what a run had told after the checkpoint that it goes on from is hidden
        self._writer = SummaryWriter(str(folder), purge_step=start + 1)

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, iteration)

    def close(self) -> None:
        self._writer.close()


def _own_id(path: Path) -> str:
    """A run's name at Weights & Biases, made when it is first asked for."""
    if not path.is_file():
        with replacing(path) as temporary:
            temporary.write_text(secrets.token_hex(8))
    return path.read_text().strip()


class _WandB:
    def __init__(self, job: Path, recipe: Recipe) -> None:
        wandb: Any = importlib.import_module("wandb")
        project = next((name for variable in _PROJECT_VARIABLES if (name := os.environ.get(variable))), "")
        self._run = wandb.init(
            project=recipe.log.wandb_project or project or recipe.job.project,
            group=recipe.job.group,
            name=recipe.job.name,
            id=os.environ.get(_RUN_VARIABLE) or _own_id(job / _RUN_ID),
            resume="allow",  # the same run goes on
            dir=str(job),
            config=recorded(recipe),
            settings=wandb.Settings(init_timeout=_INIT_TIMEOUT_S),
        )

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=iteration)

    def close(self) -> None:
        self._run.finish()
