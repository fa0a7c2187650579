"""Room on disks."""

from __future__ import annotations

import shutil
from pathlib import Path

from cosmos_cli.errors import InputError
from cosmos_cli.files.stores import StorePath, copies_folder


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that a folder is on, or will be on; of that for copies, for a folder in a store."""
    folder = copies_folder() if isinstance(folder, StorePath) else folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_room(folder: Path, num_bytes: int, *, wanted_for: str = "", fix: str) -> None:
    """Raises InputError unless so many bytes fit on the disk of a folder. wanted_for: as in " for checkpoints"."""
    free = free_bytes(folder)
    if num_bytes > free:
        what = f"needs {num_bytes / 1e9:.1f} GB{wanted_for}, but its disk has {free / 1e9:.1f} GB free."
        raise InputError(what, where=str(folder), fix=fix)
