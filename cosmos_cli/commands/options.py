"""Options that several core commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cosmos_cli.files.paths import given_path
from cosmos_cli.help import panel_of


def as_meant(value: Path) -> Path:
    try:
        return given_path(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _checkpoint_dir(*old_names: str) -> Any:
    return typer.Option(
        "--checkpoint-dir",
        *old_names,
        rich_help_panel=panel_of("checkpoint_dir", old_names=old_names),
        metavar="PATH",
        envvar="COSMOS_CHECKPOINT_DIR",
        callback=as_meant,
        help="Folder of checkpoints in the original layout.",
    )


CheckpointDir = Annotated[Path, _checkpoint_dir()]
"""Annotation of a command's `checkpoint_dir` parameter."""

DownloadDir = Annotated[Path, _checkpoint_dir("--output-dir")]
"""The same, where files are fetched, with the name that it has in the originals' scripts."""
