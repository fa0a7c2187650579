"""Whether a file that a user names is there, and what to say where it is not."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from cosmos_cli.files.stores import StorePath, facts_of

_URL = re.compile(r"data:.*,|(?!file:)[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""How an address begins as a path, which has no two slashes in a row."""


def exists(path: Path) -> bool:
    """Whether something is there, False also where nothing could be: such a name is too long, or its folder closed."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def lies_there(path: Path) -> bool:
    """Whether something has this name, a link that leads nowhere too."""
    return path.exists() if isinstance(path, StorePath) else os.path.lexists(path)


def those_there(paths: Sequence[Path]) -> list[Path]:
    """Those paths at which something lies, see `lies_there`; stores are asked as little as may be."""
    in_stores = facts_of(path for path in paths if isinstance(path, StorePath))
    return [path for path in paths if (path in in_stores if isinstance(path, StorePath) else lies_there(path))]


def is_file(path: Path) -> bool:
    """Whether a plain file is there, else as `exists`."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def looks_like_an_address(path: Path) -> bool:
    """Whether a path begins as an address on the net does, in whatever protocol."""
    return _URL.match(str(path)) is not None


def why_missing(path: Path) -> str:
    """What is wrong with a path at which there is no file, as the rest of a sentence."""
    if exists(path):
        return "is not a file"
    if looks_like_an_address(path) and not isinstance(path, StorePath):
        return "does not exist. It looks like an address on the net: download it first"
    return "does not exist"
