"""Room on disks."""

from __future__ import annotations

import shutil
from pathlib import Path

from cosmos_cli.files.stores import StorePath, copies_folder


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that a folder is on, or will be on; of that for copies, for a folder in a store."""
    folder = copies_folder() if isinstance(folder, StorePath) else folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
