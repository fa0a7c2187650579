"""What a user gives to `cosmos predict2 critic`, and of it to `best-of-n`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from cosmos_cli import registry
from cosmos_cli.requests import Flag, StrictModel


def _critics() -> list[str]:
    return list(registry.current().extensions.get("critics", {}))


class Judging(StrictModel):
    """How videos are judged."""

    num_critic_trials: int = Field(default=3, ge=1, le=1000)
    """How often the critic is asked about each video."""
    critic: Annotated[str | None, Flag(default="reason1", complete=_critics)] = None
    """Who judges, see `cosmos plugins list`; what the tiny model makes in best-of-n is judged by measured."""
    again: bool = False
    """Ask the critic again about videos that it has judged before."""


class CriticRequest(StrictModel):
    """Videos to judge."""

    video_or_folder: Annotated[tuple[Path, ...], Flag(argument=True)]
    """Videos, and folders of videos."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the critic; the same seed gives the same answers."""
    report: Annotated[Path | None, Flag(default="the folder of the first video")] = None
    """Folder for the report of all videos, report.html."""


class CriticSettings(StrictModel):
    """Where the critic is and where it computes."""

    checkpoint_dir: Annotated[Path, Flag(env="COSMOS_CHECKPOINT_DIR")] = Path("checkpoints")
    """Folder of downloaded checkpoints in the original layout."""
    device: Annotated[str, Flag(env="COSMOS_DEVICE")] = "auto"
    """Where to compute: auto, cpu, cuda or cuda:1."""
