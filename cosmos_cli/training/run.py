"""A whole post-training: networks, data, the loop, checkpoints, and what is told of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cosmos_cli import output
from cosmos_cli.files.writing import write_json
from cosmos_cli.registry import resolve
from cosmos_cli.runtime.devices import choose_device, computing
from cosmos_cli.training.checkpoints import Checkpoints, latest_in
from cosmos_cli.training.checks import whole_batch
from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.data.loader import Loader
from cosmos_cli.training.data.source import open_dataset
from cosmos_cli.training.draws import Draws, draw
from cosmos_cli.training.export import export
from cosmos_cli.training.parallel import Parallel
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.report import Log
from cosmos_cli.training.requests import TrainingSettings
from cosmos_cli.training.signals import Stopping
from cosmos_cli.training.task import Batch, BuildTask, Task, Where
from cosmos_cli.training.trainer import Step, Trainer

_PATCH = 4
"""Latent pixels of a token, in every network that is trained here."""


@dataclass(frozen=True)
class Outcome:
    """How a post-training ended. loss: of the last step; None if there was none to make."""

    folder: Path
    iteration: int
    max_iter: int
    loss: float | None
    exported: tuple[Path, ...]

    def summary(self) -> str:
        loss = "" if self.loss is None else f", loss {self.loss:.4f}"
        if self.iteration < self.max_iter:
            return f"Stopped after {self.iteration} of {self.max_iter} steps{loss}; start again to go on: {self.folder}"
        return "\n".join([f"Trained {self.iteration} steps{loss}: {self.folder}", *map(str, self.exported)])

    def document(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "iteration": self.iteration,
            "max_iter": self.max_iter,
            "loss": self.loss,
            "exported": [str(path) for path in self.exported],
            "is_complete": self.iteration >= self.max_iter,
        }


def train(recipe: Recipe, settings: TrainingSettings, stopping: Stopping) -> Outcome:
    """Train until the recipe's last step, or until a signal asks to stop; every rank must call this.

    Raises:
        CheckpointError: the first weights are missing, damaged or of another network, or the folder's checkpoint is.
        InputError: the ranks do not divide the work.
        CosmosError: the loss is no number, or a checkpoint cannot be written.
    """
    device = choose_device(settings.device)
    precision = settings.precision
    if precision == "auto":
        precision = "float32" if device.type == "cpu" else recipe.trainer.precision
    with computing(device, settings.shortcuts):
        parallel = Parallel.form(recipe.parallel, device, precision)
        output.status(parallel.layout.describe())
        return Run(recipe, settings, parallel).train(stopping)


class Run:
    """One process's part of a post-training."""

    def __init__(self, recipe: Recipe, settings: TrainingSettings, parallel: Parallel) -> None:
        self.recipe, self.parallel = recipe, parallel
        self.folder = settings.folder(recipe.job)
        self.global_batch_size, _ = whole_batch(recipe, parallel.dp_size)
        self.dataset = open_dataset(recipe)
        where = Where(parallel.device, parallel.dtype, settings.checkpoint_dir, settings.attention)
        build: BuildTask = resolve(recipe.task, needed_by="the recipe's task")
        with output.progress(f"Loading the {recipe.model.size} model on {parallel.device}"):
            self.task: Task = build(recipe, where)
            parallel.wrap(self.task)
        self.trainer = Trainer(recipe, self.task, parallel)
        self.checkpoints = Checkpoints(
            self.folder / "checkpoints",
            keep=recipe.checkpoint.keep,
            asynchronous=recipe.checkpoint.asynchronous,
            is_main=parallel.is_main,
        )
        self._last: Step | None = None
        self._saved = -1
        self._exported: tuple[Path, ...] = ()

    def train(self, stopping: Stopping) -> Outcome:
        """See `train`."""
        recipe, trainer = self.recipe, self.trainer
        self._resume()
        if self.parallel.is_main:
            write_json(self.folder / "recipe.json", recipe.model_dump(mode="json"))
        log = Log(self.folder, recipe, first_step=trainer.iteration, is_main=self.parallel.is_main)
        loader = Loader(
            self.dataset,
            recipe.data,
            seed=recipe.trainer.seed,
            global_batch_size=self.global_batch_size,
            rank=self.parallel.dp_rank,
            world=self.parallel.dp_size,
            first_step=trainer.iteration,
        )
        with loader:
            steps = iter(loader)
            while trainer.iteration < recipe.trainer.max_iter:
                began = time.monotonic()
                batches = [(self._encode(examples), places) for examples, places in next(steps)]
                step = self._last = trainer.step([(batch, self._draw(batch, places)) for batch, places in batches])
                log.step(
                    step,
                    seconds=time.monotonic() - began,
                    num_tokens=self._num_tokens([batch for batch, _ in batches]),
                    memory_bytes=self._memory(),
                )
                is_asked = stopping.asked()
                if is_asked or step.iteration % recipe.checkpoint.save_iter == 0:
                    self._save()
                if step.iteration % (recipe.checkpoint.export_iter or recipe.checkpoint.save_iter) == 0:
                    self._export()
                if is_asked and step.iteration < recipe.trainer.max_iter:
                    break
            else:
                self._save()
                self._export()
            self.checkpoints.wait()
        loss = None if self._last is None else self._last.loss
        return Outcome(self.folder, trainer.iteration, recipe.trainer.max_iter, loss, self._exported)

    def _resume(self) -> None:
        """Go on from the newest checkpoint of the folder, if there is one."""
        latest = latest_in(self.folder / "checkpoints")
        if latest is None:
            return
        plain = self.checkpoints.load(latest, self.trainer.tensors())
        self.trainer.restore(plain)
        self.global_batch_size = plain["global_batch_size"]
        self._saved = latest
        output.status(f"Going on after step {latest}: {self.folder}")

    def _save(self) -> None:
        if self._saved == self.trainer.iteration:
            return
        self._saved = self.trainer.iteration
        plain = {**self.trainer.plain(), "global_batch_size": self.global_batch_size}
        self.checkpoints.save(self.trainer.iteration, self.trainer.tensors(), plain)

    def _export(self) -> None:
        trainer = self.trainer
        self._exported = export(
            self.folder / "checkpoints",
            trainer.iteration,
            {**self.task.networks.state_dict(), **self.task.constants},
            None if trainer.ema is None else trainer.ema.averages,
            is_main=self.parallel.is_main,
        )

    @torch.no_grad()
    def _encode(self, examples: Examples) -> Batch:
        return self.task.encode(examples)

    def _draw(self, batch: Batch, places: tuple[int, ...]) -> Draws:
        """For the clips at these places of the whole batch."""
        shape = batch.latents_BCTHW.shape[1:]
        seed, step = self.recipe.trainer.seed, self.trainer.iteration
        return draw(self.recipe.draws, shape, seed=seed, step=step, places=places).to(self.parallel.device)

    def _num_tokens(self, batches: list[Batch]) -> int:
        """Of a step, over all ranks."""
        B, _, T, H, W = batches[0].latents_BCTHW.shape
        return self.global_batch_size * T * H * W // _PATCH if B else 0

    def _memory(self) -> int | None:
        device = self.parallel.device
        return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
