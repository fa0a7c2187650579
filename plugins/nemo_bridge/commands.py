"""`cosmos nemo`: signatures and calls."""

from __future__ import annotations

import typer

from cosmos_cli.flags import JsonFlag
from cosmos_cli.generation import command
from cosmos_cli.requests import request_options
from cosmos_cli.settings import Planning
from cosmos_cli.training.command import list_recipes
from cosmos_plugins.nemo_bridge.requests import BatchFile, NemoSettings, RunVideoOptions, VideoOptions, has_prompt
from cosmos_plugins.nemo_bridge.training_requests import NemoPostTraining, NemoTrainingSettings

app = typer.Typer(no_args_is_help=True)


@app.callback()
def nemo() -> None:
    """Prepare data for Cosmos-1.0 diffusion models, convert, post-train and run them, without NeMo."""


# Data


# Checkpoints


# Post-training


@app.command("post-train")
@request_options(NemoPostTraining, NemoTrainingSettings)
def post_train(training: NemoPostTraining, settings: NemoTrainingSettings) -> None:
    """Go on training a model by one of NeMo's factories; started again, it goes on where it stopped.

    Example: cosmos nemo post-train --yes --factory tiny_text2world trainer.max_steps=20
    """
    from cosmos_plugins.nemo_bridge import post_train

    post_train.run(training, settings)


@app.command("recipes")
def recipes(json: JsonFlag = False) -> None:
    """List the post-trainings, those of other packages too."""
    list_recipes("nemo")


# Generation


@app.command()
@request_options(RunVideoOptions, NemoSettings, Planning, check=has_prompt)
def run(options: RunVideoOptions, settings: NemoSettings, planning: Planning) -> None:
    """Make a video out of a prompt or, with an input, one that begins with a picture or the end of a clip.

    Example: cosmos nemo run --model tiny --prompt "A robot lifts a box."
    """
    from cosmos_plugins.nemo_bridge import inputs

    command.run(inputs, settings, inputs.as_request(options), planning)


@app.command()
@request_options(BatchFile, VideoOptions, NemoSettings, Planning)
def batch(rows: BatchFile, options: VideoOptions, settings: NemoSettings, planning: Planning) -> None:
    """Make a video of every row of a JSON Lines file; started again, it goes on where it stopped.

    Example: cosmos nemo batch prompts.jsonl --video-save-folder out
    """
    from cosmos_plugins.nemo_bridge.batch import VideoBatch
    from cosmos_plugins.nemo_bridge.inputs import PIPELINE
    from cosmos_plugins.nemo_bridge.requests import NemoRequest

    videos = VideoBatch(settings, options, rows.file, NemoRequest, PIPELINE)
    if planning.plan:
        command.tell_plan(videos.plan())
        return
    command.make_many(settings, videos.run, check=videos.check_workers)
