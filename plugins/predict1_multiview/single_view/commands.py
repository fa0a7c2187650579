"""`cosmos predict1`: signatures and calls."""

from __future__ import annotations

from typing import Any

import typer

from cosmos_cli.generation import command
from cosmos_cli.generation.requests import BatchInput
from cosmos_cli.request_options import request_options
from cosmos_cli.requests import as_request
from cosmos_cli.settings import OneOutput, Spreading
from cosmos_cli.training.command import add_commands
from cosmos_plugins.predict1_multiview.single_view.requests import SingleViewOptions, SingleViewSettings
from cosmos_plugins.predict1_multiview.text2world import requests as text2world_requests
from cosmos_plugins.predict1_multiview.text2world.requests import (
    Text2WorldOptions,
    Text2WorldRequest,
    Text2WorldSettings,
)
from cosmos_plugins.predict1_multiview.video2world import requests as video2world_requests
from cosmos_plugins.predict1_multiview.video2world.requests import (
    Video2WorldOptions,
    Video2WorldRequest,
    Video2WorldSettings,
)

app = typer.Typer(no_args_is_help=True)


@app.callback()
def predict1() -> None:
    """Make a video out of a prompt, or continue a picture or a clip (Cosmos-Predict1)."""


@app.command()
@request_options(
    Video2WorldOptions,
    Video2WorldSettings,
    BatchInput,
    OneOutput,
    Spreading,
    check=video2world_requests.one_video_or_a_batch,
)
def video2world(
    options: Video2WorldOptions,
    settings: Video2WorldSettings,
    batch_input: BatchInput,
    planning: OneOutput,
    spreading: Spreading,
) -> None:
    """Make a video that begins with a picture or the end of a clip, or one of every row of a batch file.

    Example: cosmos predict1 video2world --model tiny --input-image-or-video-path street.jpg --prompt "The bus goes."
    """
    from cosmos_plugins.predict1_multiview.video2world import inputs

    _make(inputs, Video2WorldRequest, settings, options, batch_input, planning, spreading)


@app.command()
@request_options(
    Text2WorldOptions,
    Text2WorldSettings,
    BatchInput,
    OneOutput,
    Spreading,
    check=text2world_requests.one_video_or_a_batch,
)
def text2world(
    options: Text2WorldOptions,
    settings: Text2WorldSettings,
    batch_input: BatchInput,
    planning: OneOutput,
    spreading: Spreading,
) -> None:
    """Make a video out of a prompt, or one of every row of a batch file.

    Example: cosmos predict1 text2world --model tiny --prompt "A bus drives off in the rain."
    """
    from cosmos_plugins.predict1_multiview.text2world import inputs

    _make(inputs, Text2WorldRequest, settings, options, batch_input, planning, spreading)


def _make(
    inputs: Any,
    request: type[SingleViewOptions],
    settings: SingleViewSettings,
    options: SingleViewOptions,
    batch_input: BatchInput,
    planning: OneOutput,
    spreading: Spreading,
) -> None:
    path = batch_input.batch_input_path
    if path is None:
        spreading.check_one()
        command.run(inputs, settings, as_request(request, options), planning)
        return
    planning.check_batch()
    from cosmos_plugins.predict1_multiview.single_view.batch import VideoBatch

    batch = VideoBatch(settings, options, path, request, inputs.PIPELINE)
    if planning.plan:
        command.tell_plan(batch.plan, planning, spreading)
        return
    command.make_many(settings, batch.run, check=batch.check_workers, spreading=spreading)


add_commands(app, "predict1", tiny_root="cosmos_cli.generation.variants:TINY_ROOT")
