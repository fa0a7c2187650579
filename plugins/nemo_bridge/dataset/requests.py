"""What `prepare-dataset` and `prepare-instruction-dataset` are told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from cosmos_cli.generation.settings import NonEmptyPrompt
from cosmos_cli.requests import Flag, StrictModel
from cosmos_cli.training.data.prepare_requests import TextEncodingSettings
from cosmos_cli.training.recipe import Size
from cosmos_plugins.nemo_bridge.requests import PUBLISHED_TOKENIZER


class Chunks(StrictModel):
    """Which samples are made of a folder of videos."""

    tokenizer_dir: Annotated[str, StringConstraints(max_length=4096)] = PUBLISHED_TOKENIZER
    """Folder of the tokenizer, or its name under the checkpoint folder or under nvidia/ in it."""
    dataset_path: Path = Path("video_dataset")
    """Folder of the videos."""
    output_path: Path = Path("video_dataset_cached")
    """Folder for the samples, of this run alone."""
    num_chunks: int = Field(default=5, ge=1, le=100_000)
    """Samples of each video, 121 frames each; of tiny, 33."""
    height: Annotated[Size | None, Flag(default="704; of tiny, 48")] = None
    """Rows of pixels that frames are scaled to, whatever that does to their shape; a multiple of 16."""
    width: Annotated[Size | None, Flag(default="1280; of tiny, 80")] = None
    """Columns of pixels."""
    seed: int = Field(default=0, ge=0)
    """What the choice of chunks follows from, with the names and lengths of the videos."""
    skip_bad: bool = False
    """Go on without videos that are too short, cannot be decoded or lack their instruction; they are named."""


class SubjectDataset(Chunks):
    """One prompt for all videos."""

    prompt: NonEmptyPrompt = "a video of sks."
    """Prompt of every sample, such as: A video of sks teal robot."""


class InstructionDataset(Chunks):
    """An instruction for each video: `videos/NAME.mp4` and `instructions/NAME.json` in the folder of the data set."""


class DatasetSettings(TextEncodingSettings):
    """Where samples are made, and with which networks."""

    model_size: Annotated[Literal["cosmos-1.0", "tiny"], Flag(aliases=("--model",))] = "cosmos-1.0"
    """Tokenizer and text encoder: those of the published models, or those of the tiny ones, which ship with cosmos."""
    num_gpus: Annotated[int, Flag(old_names=("--num-workers",))] = Field(default=1, ge=1)
    """Number of GPUs, or with --device cpu of processes; the command starts one worker on each."""
