"""A whole post-training: networks, data, the loop, checkpoints, and what is told of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.import_strings import resolve
from cosmos_cli.runtime.devices import choose_device, computing
from cosmos_cli.training.background import Background
from cosmos_cli.training.checkpoints import Checkpoints
from cosmos_cli.training.checks import whole_batch
from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.data.kept import Gathered
from cosmos_cli.training.data.loader import Loader
from cosmos_cli.training.data.source import open_dataset
from cosmos_cli.training.draws import Draws, draw
from cosmos_cli.training.export import AVERAGED, REGULAR, adapter_path, export, export_adapter, export_path
from cosmos_cli.training.job_folder import CHECKPOINTS, job_folder, write_recipe
from cosmos_cli.training.latents import KeptLatents, open_latents
from cosmos_cli.training.lora import adapt
from cosmos_cli.training.parallel import Parallel
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.report import Log
from cosmos_cli.training.requests import TrainingSettings, precision_on
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


def train(named: Recipe, recipe: Recipe, settings: TrainingSettings, stopping: Stopping) -> Outcome:
    """Train until the recipe's last step, or until a signal asks to stop; every rank must call this.

    Args:
        named: the recipe before it was changed, to tell what was.
    Raises:
        CheckpointError: the first weights are missing, damaged or of another network, or the folder's checkpoint is.
        InputError: the ranks do not divide the work.
        CosmosError: the loss is no number, or a checkpoint cannot be written.
    """
    device = choose_device(settings.device)
    precision = precision_on(recipe, settings.precision, device.type)
    with computing(device, settings.shortcuts):
        parallel = Parallel.form(recipe.parallel, device, precision)
        output.status(parallel.layout.describe())
        return Run(named, recipe, settings, parallel).train(stopping)


class Run:
    """One process's part of a post-training."""

    def __init__(self, named: Recipe, recipe: Recipe, settings: TrainingSettings, parallel: Parallel) -> None:
        self.named, self.recipe, self.parallel = named, recipe, parallel
        self.folder = job_folder(settings.output_root, recipe.job)
        self.global_batch_size = whole_batch(recipe, parallel.dp_size)
        self.dataset = open_dataset(recipe)
        where = Where(parallel.device, parallel.dtype, settings.checkpoint_dir, settings.attention)
        build: BuildTask = resolve(recipe.task, needed_by="the recipe's task")
        with output.progress(f"Loading the {recipe.model.size} model on {parallel.device}"):
            self.task: Task = build(recipe, where)
            self.latents: KeptLatents | None = None
            if recipe.data.latents_dir:
                self.latents = open_latents(recipe, self.dataset, self.task, where, writes=parallel.is_main)
            self.lora = adapt(self.task.networks, recipe.lora, recipe.trainer.seed) if recipe.lora else None
            parallel.wrap(self.task, compile=settings.compile)
        self.trainer = Trainer(recipe, self.task, parallel)
        self._exporting = Background()
        self._exported: list[Path] = []

    def train(self, stopping: Stopping) -> Outcome:
        """See `train`."""
        choices = self.recipe.checkpoint
        folder = self.folder / CHECKPOINTS
        with Checkpoints(folder, keep=choices.keep, asynchronous=choices.asynchronous) as checkpoints:
            latest = checkpoints.latest()
            if latest is not None:
                self._restore(checkpoints.load(self.trainer.tensors(), latest))
                output.status(f"Going on after step {latest}: {self.folder}")
            if self.parallel.is_main:
                write_recipe(self.folder, self.recipe)
            with Log(self.folder, self.recipe, start=self.trainer.iteration, named=self.named) as log:
                last = self._steps(checkpoints, log, stopping)
                self._exporting.wait()
        max_iter = self.recipe.trainer.max_iter
        loss = None if last is None else last.loss
        return Outcome(self.folder, self.trainer.iteration, max_iter, loss, tuple(self._exported))

    def _steps(self, checkpoints: Checkpoints, log: Log, stopping: Stopping) -> Step | None:
        """Make the steps that are left, or those until a signal; the last of them."""
        recipe, trainer, step = self.recipe, self.trainer, None
        save_iter, export_iter = recipe.checkpoint.save_iter, recipe.checkpoint.export_iter
        with self._loader() as loader:
            steps = iter(loader)
            for number in range(trainer.iteration + 1, recipe.trainer.max_iter + 1):
                began = time.monotonic()
                batches = [(self._encode(clips), places) for clips, places in next(steps)]
                step = trainer.step([(batch, self._draw(batch, places)) for batch, places in batches])
                log.step(
                    number,
                    loss=step.loss,
                    grad_norm=step.gradient_norm,
                    rate=step.rate,
                    seconds=time.monotonic() - began,
                    tokens=self._num_tokens(batches[0][0]),
                    memory_bytes=self._memory(),
                    parts=step.parts,
                    **({"is_skipped": True} if step.is_skipped else {}),
                )
                if (every := recipe.log.sample_iter) and number % every == 0:
                    self._sample(log, batches[0][0])
                is_asked, is_last = stopping.asked(), number == recipe.trainer.max_iter
                if is_asked or is_last or number % save_iter == 0:
                    checkpoints.save(number, trainer.tensors(), self._plain())
                if is_last or number % (export_iter or save_iter) == 0:
                    self._export()
                if is_asked:
                    break
        return step

    def _loader(self) -> Loader:
        return Loader(
            self.dataset,
            self.recipe.data,
            seed=self.recipe.trainer.seed,
            global_batch_size=self.global_batch_size,
            rank=self.parallel.dp_rank,
            world=self.parallel.dp_size,
            first_step=self.trainer.iteration,
            kept=None if self.latents is None else self.latents.kept,
        )

    def _plain(self) -> dict[str, Any]:
        return {**self.trainer.plain(), "global_batch_size": self.global_batch_size}

    def _restore(self, plain: Mapping[str, Any]) -> None:
        """Raises InputError: another number of ranks cannot take as many clips a step as the run has taken so far."""
        self.trainer.restore(plain)
        self.global_batch_size = plain["global_batch_size"]
        at_once = self.recipe.data.batch_size * self.parallel.dp_size
        if self.global_batch_size % at_once:
            raise InputError(
                f"the run takes {self.global_batch_size} clips a step, which do not divide among "
                f"{self.parallel.dp_size} data-parallel ranks with {self.recipe.data.batch_size} at a time.",
                where=str(self.folder),
                fix="Start as many ranks as before, or a number that divides the clips.",
            )

    def _export(self) -> None:
        number, trainer, folder = self.trainer.iteration, self.trainer, self.folder / CHECKPOINTS
        averages = None if trainer.ema is None else trainer.ema.averages
        if self.lora is not None:
            export_adapter(folder, number, self.task.networks, self.lora, averages, background=self._exporting)
            path = adapter_path
        else:
            constants = self.task.constants
            export(folder, number, self.task.networks, averages, constants, background=self._exporting)
            path = export_path
        kinds = (REGULAR,) if averages is None else (REGULAR, AVERAGED)
        self._exported = [path(folder, number, kind) for kind in kinds]

    @torch.no_grad()
    def _encode(self, clips: Examples | Gathered) -> Batch:
        if isinstance(clips, Examples):
            return self.task.encode(clips)
        assert self.latents is not None
        return self.latents.batch(clips)

    def _draw(self, batch: Batch, places: tuple[int, ...]) -> Draws:
        """For the clips at these places of the whole batch."""
        shape = batch.latents_BCTHW.shape[1:]
        seed, step = self.recipe.trainer.seed, self.trainer.iteration
        return draw(self.recipe.draws, shape, seed=seed, step=step, places=places).to(self.parallel.device)

    def _num_tokens(self, batch: Batch) -> int:
        """Of a step, over all ranks."""
        _, _, T, H, W = batch.latents_BCTHW.shape
        return self.global_batch_size * T * H * W // _PATCH

    @torch.no_grad()
    def _sample(self, log: Log, batch: Batch) -> None:
        """A video of the averaged weights, where there are some; all ranks make it together."""
        ema = self.trainer.ema
        with ema.in_place() if ema is not None else contextlib.nullcontext():
            videos = self.task.sample(batch, self.recipe.trainer.seed, self.recipe.log.sample_steps)
        log.sample(self.trainer.iteration, videos, batch.fps)

    def _memory(self) -> int:
        device = self.parallel.device
        return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
