"""Arrays too large for the memory: they lie in a file without a name, so that nothing of it can stay behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_cli.files.failures import writing

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
        # to run out of room while it is filled would end the process, without a word
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(num_bytes, 1))
        else:
            file.truncate(max(num_bytes, 1))
        return np.memmap(file, dtype, "r+", shape=tuple(shape))
