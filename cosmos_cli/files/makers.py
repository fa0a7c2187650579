"""Whose a file in the making is: its name ends with a token of the process that makes it."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket

_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_END = re.compile(r"(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.part(\.[^.]*)?$")


def new_name(start: str, suffix: str) -> str:
    """A name for a file of this process alone, which nobody can have foreseen. suffix: writers choose formats by it."""
    return f"{start}{_HOST}-{os.getpid()}-{secrets.token_hex(4)}.part{suffix}"


def has_lost_its_maker(name: str) -> bool:
    """Whether a file's name is of a process of this machine that no longer runs; others cannot be asked."""
    end = _END.search(name)
    if end is None or end["host"] != _HOST:
        return False
    return int(end["pid"]) != os.getpid() and not _runs(int(end["pid"]))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True
