"""Which errors say that the host has too little memory: no file is at fault then, whatever was being read."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from cosmos_cli.errors import CosmosError, TooLittleMemory

WAY_OUT = "Close other programs, or use a machine with more memory."

_WORDS = re.compile(
    "|".join(
        (
            r"DefaultCPUAllocator: .*(can't allocate memory|not enough memory)",  # torch
            r"\bstd::bad_alloc\b",
            r"\bCannot allocate memory\b",  # the system, through libraries without numbers: mmap of safetensors, torch
            r"\bos error 12\b",
        )
    ),
    re.IGNORECASE | re.DOTALL,
)


def is_too_little(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that memory of the host could not be had."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if not isinstance(error, CosmosError) and _WORDS.search(str(error)):
            return True
        error = error.__cause__
    return False


def raise_if_too_little(error: Exception, path: Path) -> None:
    """To be asked before an error is taken for one of the file that was being read.

    Raises:
        TooLittleMemory: memory was what it lacked.
    """
    if is_too_little(error):
        raise TooLittleMemory(
            "could not be read: the system gave no more memory.",
            where=str(path),
            fix=f"{WAY_OUT} A file that should be small is damaged.",
        ) from error
