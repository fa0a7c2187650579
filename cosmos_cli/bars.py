"""How work in progress looks: bars on a terminal, a line now and then elsewhere. `output` says which."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from cosmos_cli.durations import duration

LINE_S = 30.0
"""Between two lines about a stage that is still at work, where no terminal shows a bar."""

FileProgress = Callable[[str, int], contextlib.AbstractContextManager[Callable[[int], None]]]
"""Called with the name and the bytes of a file: a context for the time that it is at work.

It yields a function to be told of bytes that are done, negative where they have to be done again.
"""


@contextlib.contextmanager
def bar(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr. Yields a function to be told of units that are done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    known = (MofNCompleteColumn(), TimeRemainingColumn()) if total else ()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *known, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(label, total=total)
        yield lambda done: shown.advance(task, done)


@contextlib.contextmanager
def file_bars(label: str, num_bytes: int, clean: Callable[[str], str]) -> Iterator[FileProgress]:
    """A bar on stderr for all bytes and one for each file at work. clean: makes a name fit to be shown."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        *(DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, expand=True) as shown:
        of_all = shown.add_task(label, total=num_bytes)

        @contextlib.contextmanager
        def of_file(name: str, num_bytes: int) -> Iterator[Callable[[int], None]]:
            own = shown.add_task(clean(name), total=num_bytes)

            def advance(done: int) -> None:
                shown.advance(own, done)
                shown.advance(of_all, done)

            try:
                yield advance
            finally:
                shown.remove_task(own)

        yield of_file


@contextlib.contextmanager
def lines(
    label: str, amount: Callable[[int], str], total: int | None, say: Callable[[str], None]
) -> Iterator[Callable[[int], None]]:
    """A line every `LINE_S` seconds, also while a single unit takes longer.

    Args:
        amount: how much is done, in words.
    Yields:
        A function to be told of units that are done, from any thread.
    """
    start, done, lock, is_over = time.perf_counter(), 0, threading.Lock(), threading.Event()

    def advance(more: int) -> None:
        nonlocal done
        with lock:
            done += more

    def beat() -> None:
        while not is_over.wait(LINE_S):
            seconds = time.perf_counter() - start
            left = f", about {duration(seconds / done * (total - done))} left" if total and 0 < done < total else ""
            say(f"{label}: {amount(done)}{duration(seconds)} so far{left}")

    # a daemon: work that dies is not to wait for it
    thread = threading.Thread(target=beat, name="progress", daemon=True)
    thread.start()
    try:
        yield advance
    finally:
        is_over.set()
        thread.join()
