"""The learnt levels of brightness, in one file under the checkpoint folder."""

from __future__ import annotations

from pathlib import Path

from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.errors import CheckpointError

FILE = Path("acme/cosmos-light/levels.safetensors")
"""One number for each extension, from 0 to 255, under its name."""


def read_level(checkpoint_dir: Path, name: str) -> float:
    """The level of an extension. Raises CheckpointError if the file is missing or damaged."""
    path = checkpoint_dir / FILE
    if not path.is_file():
        raise CheckpointError("is missing.", where=str(path), fix="Copy it there.")
    with open_checkpoint(path) as file:
        return float(file.tensor(name))
