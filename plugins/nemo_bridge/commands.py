"""`cosmos nemo`: signatures and calls."""

from __future__ import annotations

import typer

from cosmos_cli.flags import JsonFlag
from cosmos_cli.generation import command
from cosmos_cli.request_options import request_options
from cosmos_cli.requests import as_request
from cosmos_cli.settings import OneOutput, Planning, Spreading
from cosmos_cli.training.command import list_recipes
from cosmos_plugins.nemo_bridge.convert.requests import ConversionRequest
from cosmos_plugins.nemo_bridge.dataset.requests import DatasetSettings, InstructionDataset, SubjectDataset
from cosmos_plugins.nemo_bridge.requests import (
    BatchFile,
    NemoRequest,
    NemoSettings,
    RunVideoOptions,
    VideoOptions,
    has_prompt,
)
from cosmos_plugins.nemo_bridge.training_requests import NemoPostTraining, NemoTrainingSettings

app = typer.Typer(no_args_is_help=True)


@app.callback()
def nemo() -> None:
    """Prepare data for Cosmos-1.0 diffusion models, convert, post-train and run them, without NeMo."""


# Data


@app.command("prepare-dataset")
@request_options(SubjectDataset, DatasetSettings)
def prepare_dataset(request: SubjectDataset, settings: DatasetSettings) -> None:
    """Cut samples out of videos of one subject and encode them for post-training; started again, it goes on.

    Example: cosmos nemo prepare-dataset --dataset_path videos --output_path cached --prompt "A video of sks robot."
    """
    from cosmos_plugins.nemo_bridge.dataset import command as preparation

    preparation.run(request, settings)


@app.command("prepare-instruction-dataset")
@request_options(InstructionDataset, DatasetSettings)
def prepare_instruction_dataset(request: InstructionDataset, settings: DatasetSettings) -> None:
    """The same, where each video has an instruction of its own: videos/NAME.mp4 and instructions/NAME.json.

    Example: cosmos nemo prepare-instruction-dataset --dataset_path robot_dataset --output_path robot_dataset/processed
    """
    from cosmos_plugins.nemo_bridge.dataset import command as preparation

    preparation.run(request, settings)


# Checkpoints


@app.command()
@request_options(ConversionRequest)
def convert(request: ConversionRequest) -> None:
    """Write a checkpoint in another layout: NVIDIA's own file, a folder of NeMo or a folder of Diffusers.

    Example: cosmos nemo convert checkpoints/epoch=0-step=999 trained.pt
    """
    from cosmos_plugins.nemo_bridge.convert import command as conversion

    conversion.run(request)


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
@request_options(RunVideoOptions, NemoSettings, OneOutput, check=has_prompt)
def run(options: RunVideoOptions, settings: NemoSettings, planning: OneOutput) -> None:
    """Make a video out of a prompt or, with an input, one that begins with a picture or the end of a clip.

    Example: cosmos nemo run --model tiny --prompt "A robot lifts a box."
    """
    from cosmos_plugins.nemo_bridge import inputs

    command.run(inputs, settings, as_request(NemoRequest, options), planning)


@app.command()
@request_options(BatchFile, VideoOptions, NemoSettings, Planning, Spreading)
def batch(
    rows: BatchFile, options: VideoOptions, settings: NemoSettings, planning: Planning, spreading: Spreading
) -> None:
    """Make a video of every row of a JSON Lines file; started again, it goes on where it stopped.

    Example: cosmos nemo batch prompts.jsonl --video-save-folder out
    """
    from cosmos_plugins.nemo_bridge.batch import VideoBatch
    from cosmos_plugins.nemo_bridge.inputs import PIPELINE

    videos = VideoBatch(settings, options, rows.file, NemoRequest, PIPELINE)
    if planning.plan:
        command.tell_plan(videos.plan, planning, spreading)
        return
    command.make_many(settings, videos.run, check=videos.check_workers, spreading=spreading)
