"""Whether a file is still the one that it was."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path


def digest(path: Path) -> str:
    """SHA-256 of a file's content, computed once as long as its size and time stay."""
    status = path.stat()
    return _digest(path.absolute(), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _digest(path: Path, _size: int, _mtime_ns: int) -> str:
    content = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            content.update(part)
    return content.hexdigest()
