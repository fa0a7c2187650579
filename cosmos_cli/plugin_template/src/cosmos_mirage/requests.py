"""What a user gives: options, help, batch columns, JSON Schema and sidecars follow from these fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from cosmos_cli.requests import Flag, StrictModel


class MirageSettings(StrictModel):
    """What is loaded once and serves many videos."""

    weights: Path
    """File of weights, or folder of a post-training, of which the newest averaged weights are taken."""
    device: Annotated[str, Flag(env="COSMOS_DEVICE")] = "auto"
    """Where to compute: auto, cpu, cuda or cuda:1."""
    checkpoint_dir: Annotated[Path, Flag(env="COSMOS_CHECKPOINT_DIR")] = Path("checkpoints")
    """Folder of downloaded checkpoints, where guardrails find their weights."""


class MirageRequest(StrictModel):
    """One video."""

    input_path: Path
    """Picture to continue; sides that are odd lose a pixel."""
    prompt: str
    """What shall happen; guardrails read it, this network does not yet."""
    num_frames: int = Field(default=16, ge=2, le=500)
    """Length of the video in frames."""
    fps: int = Field(default=16, ge=1, le=120)
    """Frames per second."""
    save_path: Path = Path("output/mirage.mp4")
    """Video to write, an mp4; a sidecar of the same name ending in .json goes beside it."""
    overwrite: bool = False
    """Replace an existing video."""


class MirageBatch(StrictModel):
    """Many videos."""

    file: Annotated[Path, Flag(argument=True)]
    """JSON Lines, a request per line; paths are meant from its folder."""
