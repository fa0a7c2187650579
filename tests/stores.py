"""A store in the memory of this process, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from cosmos_cli.files import outputs
from cosmos_cli.files.stores import keep_copies_in


@contextmanager
def empty_store(copies: Path) -> Iterator[Any]:
    """Nothing is in it, before or after; what is read of it is copied into a folder."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    outputs._proven.clear()
    keep_copies_in(copies)
    yield files
    files.store.clear()
