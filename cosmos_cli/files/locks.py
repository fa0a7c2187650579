"""Locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import fcntl
from typing import IO, Any

_TAKEN = {errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN}


def try_lock(file: IO[Any] | int) -> bool | None:
    """Whether the file is now this process's; None where the file system knows no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _TAKEN else None
    return True
