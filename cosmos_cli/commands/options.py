"""Options that several core commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cosmos_cli.files.paths import given_path


def as_meant(value: Path) -> Path:
    try:
        return given_path(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


CheckpointDir = Annotated[
    Path,
    typer.Option(
        "--checkpoint-dir",
        envvar="COSMOS_CHECKPOINT_DIR",
        callback=as_meant,
        help="Folder of checkpoints in the original layout.",
    ),
]
"""Annotation of a command's `checkpoint_dir` parameter."""
