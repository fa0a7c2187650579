"""What `prepare-data` is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cosmos_cli.generation.settings import NonEmptyPrompt
from cosmos_cli.requests import Flag, StrictModel
from cosmos_cli.settings import MachineSettings


class Preparation(StrictModel):
    """Which data set gets its texts encoded."""

    dataset_path: Path
    """Folder of the data set, with `videos` and `metas`."""
    prompt: NonEmptyPrompt | None = None
    """One caption for all clips; without it, each has one in metas/CLIP.txt."""
    overwrite: bool = False
    """Encode also what is encoded already; else only what is missing, or older than its caption."""


class TextEncodingSettings(MachineSettings):
    """Where and by what texts are encoded."""

    text_encoder: Annotated[Literal["auto", "bf16", "fp32"], Flag(default="auto: fp32 if it is there, else bf16")] = (
        "auto"
    )
    """Published weights of the text encoder, by the precision they are stored in."""


class PreparationSettings(TextEncodingSettings):
    """Where and by what texts are encoded, and whose encoder it is."""

    model_size: Annotated[Literal["t5-11b", "tiny"], Flag(aliases=("--model",))] = "t5-11b"
    """Text encoder: that of the published models, or that of the tiny ones, which ship with cosmos."""
