"""Weights that cannot be loaded, to show that nothing tried to."""

from __future__ import annotations

import shutil
from pathlib import Path

WEIGHTS = {".pt", ".pth", ".safetensors"}


def damaged_copy(models: Path, folder: Path) -> Path:
    """A copy of a folder of models with every file of weights in its place and none of them readable."""
    shutil.copytree(models, folder)
    for path in folder.rglob("*"):
        if path.suffix in WEIGHTS:
            path.write_bytes(b"damaged")
    return folder
