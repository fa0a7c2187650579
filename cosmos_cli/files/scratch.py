"""Arrays too large for the memory: they lie in a file without a name, so that nothing of it can stay behind."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_cli.errors import DiskFull
from cosmos_cli.files.failures import FULL, error_number, writing

if TYPE_CHECKING:
    import numpy as np


def scratch_array(shape: Sequence[int], dtype: Any, folder: Path) -> np.ndarray:
    """An array of zeros on disk. The system keeps as much of it in memory as there is room for.

    Args:
        folder: where it lies; the nearest above it that exists, where it does not.
    Raises:
        DiskFull: there is no room.
        CosmosError: the system does not let it be written.
    """
    import numpy as np

    folder = folder.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    num_bytes = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    with writing(folder / "scratch"), tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(max(num_bytes, 1))
        try:
            # to run out of room while it is filled would end the process, without a word
            reserve(file.fileno(), max(num_bytes, 1))
        except OSError as error:
            if error_number(error) not in FULL:
                raise
            free = shutil.disk_usage(folder).free
            raise DiskFull(
                f"needs {num_bytes:,} bytes for what waits there while it is made; {free:,} bytes are free.",
                where=str(folder),
                fix="Make room there, or choose a folder on another disk. What was finished before is kept.",
            ) from error
        return np.memmap(file, dtype, "r+", shape=tuple(shape))


def reserve(descriptor: int, num_bytes: int) -> None:
    """Make room on the disk for the first bytes of a file, where system and disk can. Raises OSError: there is none."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
