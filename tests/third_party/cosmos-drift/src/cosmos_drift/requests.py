"""What a user gives to the drift commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cosmos_cli.requests import Flag, StrictModel


class DriftSettings(StrictModel):
    """What is loaded once and serves many videos."""

    weights: Annotated[Path, Flag(env="COSMOS_DRIFT_WEIGHTS")] = Path("drift.json")
    """Velocity of the world."""
    checkpoint_dir: Annotated[Path, Flag(env="COSMOS_CHECKPOINT_DIR")] = Path("checkpoints")
    """Folder of downloaded checkpoints, where guardrails find their weights."""


class DriftRequest(StrictModel):
    """One video."""

    input_path: Path
    """Picture to continue."""
    prompt: str
    """What the picture shows."""
    num_frames: int = Field(default=16, ge=2, le=500)
    """Length of the video in frames."""
    fps: Literal[10, 16] = 16
    """Frames per second."""
    save_path: Path = Path("output/drift.mp4")
    """Video to write, an mp4; a sidecar of the same name ending in .json goes beside it."""
    overwrite: bool = False
    """Replace an existing video."""


class DriftBatch(StrictModel):
    """Many videos."""

    file: Annotated[Path, Flag(argument=True)]
    """JSON Lines, one request each; paths are relative to this file."""


class DriftTraining(StrictModel):
    """One post-training run. Started again, it goes on where it stopped."""

    input_path: Path
    """Video to learn from."""
    weights: Path = Path("drift.json")
    """File to write the velocity to."""
    num_steps: int = Field(default=50, ge=1)
    """Steps to train in all, those of earlier runs included."""
    save_every: int = Field(default=10, ge=1)
    """Steps between two saves."""


class DriftDownload(StrictModel):
    """One download."""

    hub: Annotated[Path | None, Flag(env="COSMOS_DRIFT_HUB", default="files that come with cosmos-drift")] = None
    """Folder to fetch from."""
    weights: Path = Path("drift.json")
    """File to write the velocity to."""
