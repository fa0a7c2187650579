"""Options that several core commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CheckpointDir = Annotated[
    Path,
    typer.Option(
        "--checkpoint-dir",
        envvar="COSMOS_CHECKPOINT_DIR",
        help="Folder of checkpoints in the original layout.",
    ),
]
"""Annotation of a command's `checkpoint_dir` parameter."""
