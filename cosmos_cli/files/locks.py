"""Locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.ESTALE}
_ATTEMPTS = 3
"""Where whoever holds a lock removes its file meanwhile, that says nothing of the next."""


class Lock:
    """A lock that this process has until it lets go, or dies.

    is_real: False where the file system knows no locks, so that it keeps nobody out. A mark in their place would
        outlive a process that is killed on another machine, and lock out all that come after it.
    """

    def __init__(self, held: BaseFileLock | None) -> None:
        self._held, self.is_real = held, held is not None

    def release(self) -> None:
        if self._held is not None:
            self._held.release(force=True)


def try_lock(path: Path) -> Lock | None:
    """The lock that a file stands for, which is made if need be and stays; None while somebody else has it.

    Raises:
        OSError: the file cannot be made or opened, or it is a link.
    """
    from filelock import FileLock, Timeout

    for _ in range(_ATTEMPTS):
        lock = FileLock(path, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if os.path.lexists(path):
                return None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return Lock(None)
        else:
            return Lock(lock)
    return None
