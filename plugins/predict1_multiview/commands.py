"""`cosmos predict1-multiview`: signatures and calls."""

from __future__ import annotations

from pathlib import Path

import typer

from cosmos_cli.generation import command
from cosmos_cli.generation.requests import BatchInput
from cosmos_cli.request_options import request_options
from cosmos_cli.requests import as_request
from cosmos_cli.settings import OneOutput, Planning, Spreading
from cosmos_cli.training.command import add_commands
from cosmos_plugins.predict1_multiview.multiview.requests import (
    BatchFile,
    MultiviewOptions,
    MultiviewRequest,
    MultiviewSettings,
    one_scene_or_a_batch,
)

app = typer.Typer(no_args_is_help=True)


@app.callback()
def predict1_multiview() -> None:
    """Make what six cameras of a car see, out of prompts and first frames (Cosmos-Predict1)."""


@app.command()
@request_options(MultiviewOptions, MultiviewSettings, BatchInput, OneOutput, Spreading, check=one_scene_or_a_batch)
def run(
    options: MultiviewOptions,
    settings: MultiviewSettings,
    batch_input: BatchInput,
    planning: OneOutput,
    spreading: Spreading,
) -> None:
    """Make the videos of all cameras out of their prompts and, with an input, of their first frames.

    Example: cosmos predict1-multiview run --model tiny --prompt "The street is wet."
    """
    if batch_input.batch_input_path is not None:
        planning.check_batch()
        _run_batch(settings, options, batch_input.batch_input_path, planning, spreading)
        return
    spreading.check_one()
    from cosmos_plugins.predict1_multiview.multiview import inputs

    command.run(inputs, settings, as_request(MultiviewRequest, options), planning)


@app.command()
@request_options(BatchFile, MultiviewOptions, MultiviewSettings, Planning, Spreading)
def batch(
    rows: BatchFile, options: MultiviewOptions, settings: MultiviewSettings, planning: Planning, spreading: Spreading
) -> None:
    """Make the videos of every row of a JSON Lines file; started again, it goes on where it stopped.

    Example: cosmos predict1-multiview batch scenes.jsonl --video-save-folder out
    """
    _run_batch(settings, options, rows.file, planning, spreading)


def _run_batch(
    settings: MultiviewSettings, options: MultiviewOptions, path: Path, planning: Planning, spreading: Spreading
) -> None:
    from cosmos_plugins.predict1_multiview.multiview import inputs
    from cosmos_plugins.predict1_multiview.multiview.batch import SceneBatch

    rows = SceneBatch(settings, options, path, MultiviewRequest, inputs.PIPELINE)
    if planning.plan:
        command.tell_plan(rows.plan, planning, spreading)
        return
    command.make_many(settings, rows.run, check=rows.check_workers, spreading=spreading)


add_commands(app, "predict1-multiview", tiny_root="cosmos_cli.generation.variants:TINY_ROOT")
