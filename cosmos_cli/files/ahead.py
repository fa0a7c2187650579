"""Reading many objects of stores at a time, before they are needed one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

from cosmos_cli.errors import CosmosError, DiskFull
from cosmos_cli.files.stores import StorePath

_AT_A_TIME = 16
"""Objects that are read at a time."""


def fetch_all(paths: Iterable[StorePath]) -> None:
    """Copy many objects at a time, as far as that goes: whoever reads one finds out what is wrong with it.

    Raises:
        DiskFull: there is no room for one of them.
    """

    def fetch(path: StorePath) -> None:
        with contextlib.suppress(OSError, CosmosError):
            try:
                path.here()
            except DiskFull as error:  # no fault of this one, and the others would find none either
                full.append(error)

    full: list[DiskFull] = []
    _many_at_a_time(lambda path: None if full else fetch(path), paths)
    if full:
        raise full[0]


def read_ahead(paths: Iterable[Path]) -> None:
    """Read many small files of stores at a time, so that they need not be waited for one by one."""

    def read(path: StorePath) -> None:
        with contextlib.suppress(OSError, CosmosError):
            path.read_bytes()

    _many_at_a_time(read, (path for path in paths if isinstance(path, StorePath)))


def _many_at_a_time(work: Callable[[StorePath], None], paths: Iterable[StorePath]) -> None:
    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="store") as pool:
        # a thread sees what the `looking` block of this one does
        for each in [pool.submit(copy_context().run, work, path) for path in paths]:
            each.result()
