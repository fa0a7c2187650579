"""The files of one generation, made by one process or by several together. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cosmos_cli.files.outputs import making
from cosmos_cli.runtime.workers.agreement import together
from cosmos_cli.runtime.workers.rank import find_rank


@contextmanager
def making_together(paths: Iterable[Path], *, overwrite: bool) -> Iterator[None]:
    """As `cosmos_cli.files.outputs.making`, in the first of several processes, which writes for all.

    Every process must call this. Raises the same in all.
    """
    place = find_rank()
    with ExitStack() as stack:
        together(
            lambda: stack.enter_context(making(paths, overwrite=overwrite)) if place is None or not place.rank else None
        )
        yield
