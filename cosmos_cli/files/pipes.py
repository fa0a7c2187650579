"""What can be read once and by this process alone: pipes, and whatever it has open."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from cosmos_cli.errors import InputError, Problem

_OWN = ("/dev/stdin", "/dev/fd/", "/dev/tty", "/proc/self/", "/proc/thread-self/")
"""How names begin that mean something else in every process."""


def check_kept_for_later(words: Sequence[str]) -> None:
    """The same command can read its files when it is started later, on whatever machine.

    Args:
        words: of its command line; the value of an option may stand behind "=".
    Raises:
        InputError: for each that is a pipe, or a file that only this process has open.
    """
    values = [word.partition("=")[2] if word.startswith("--") and "=" in word else word for word in words]
    problems = [
        Problem(
            "is a pipe, or open in this process alone, and cannot be read later.",
            value,
            "Save it as a file, and name that.",
        )
        for value in values
        if value.startswith(_OWN) or _is_pipe(value)
    ]
    if problems:
        raise InputError.from_problems(problems)


def _is_pipe(name: str) -> bool:
    try:
        mode = Path(name).stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
