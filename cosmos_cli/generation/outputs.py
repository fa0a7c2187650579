"""The files of one generation: how they are called, and made by one process or by several together; without torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from cosmos_cli.files.outputs import making
from cosmos_cli.requests import StrictModel
from cosmos_cli.runtime.workers.agreement import together
from cosmos_cli.runtime.workers.rank import find_rank

Request = TypeVar("Request", bound=StrictModel)


def numbered(request: Request) -> Request:
    """The request with the first of NAME, NAME-2, NAME-3 and so on as its output that is not there yet.

    What goes beside an output has its name with another ending, so that must not be there either.
    """
    asked: Any = request
    field = next((name for name in ("save_path", "video_save_path") if getattr(request, name, None)), None)
    if field is not None:
        path: Path = getattr(request, field)
        stem, suffix = path.stem, path.suffix
    else:
        # here a name with a dot in it is whole
        path = asked.video_save_folder / asked.video_save_name
        stem, suffix = path.name.removesuffix(".mp4"), ""
    there: list[str] = []
    with suppress(OSError, ValueError):  # no folder yet, or none that there can be, which is for others to say
        there = [each.name for each in path.parent.iterdir()]
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    free = next(name for name in names if not any(each == name or each.startswith(f"{name}.") for each in there))
    if free == stem:
        return request
    changes = {field: path.with_name(f"{free}{suffix}")} if field is not None else {"video_save_name": free}
    return request.model_copy(update=changes)


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
