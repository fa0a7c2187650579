"""Room for checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

from cosmos_cli.errors import InputError


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that a folder is on, or will be on."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_disk(num_bytes: int, root: Path) -> None:
    """Raises InputError unless so many bytes fit into the checkpoint folder."""
    free = free_bytes(root)
    if num_bytes > free:
        raise InputError(
            f"needs {num_bytes / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB free.",
            where=str(root),
            fix="Make room, or name a folder on another disk with --checkpoint-dir.",
        )
