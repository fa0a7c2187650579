"""The page of a folder that batches write to: every video with what it was made of, and what became of the others.

It is written out of ledgers and sidecars alone, so that it can be written anew at any time, whoever made the videos.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from cosmos_cli import output
from cosmos_cli.batch.inputs_inside import PLACE, with_inputs_inside
from cosmos_cli.batch.ledger import ENDING, find_ledgers, is_in_use, read_ledger, state
from cosmos_cli.batch.shown import Shown, settings_that_differ, shown
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.ahead import read_ahead
from cosmos_cli.files.side_work import reason
from cosmos_cli.files.stores import beginning, looking
from cosmos_cli.files.writing import replacing
from cosmos_cli.page import render
from cosmos_cli.redaction import hide

PAGE_NAME = "report.html"

_MARK, _MARKED_BYTES = b'content="cosmos batch report"', 1 << 14
"""What tells a page of ours from what others keep under this name, and how far from its beginning it stands."""

_REFRESH_S, _SHARE = 30.0, 20
"""Least seconds between two pages of a batch that runs; and they take at most one in so many of its seconds."""

_STATES = ("done", "failed", "blocked", "being made", "stopped", "waiting", "not begun")
"""In the order of the filter."""


def page_of(ledger: Path) -> Path | None:
    """The page beside a ledger, if there is one."""
    page = ledger.with_name(PAGE_NAME)
    return page if _is_ours(page) else None


def write_page(folder: Path) -> Path:
    """Write the page of a folder out of all ledgers in it.

    Raises:
        InputError: the folder has no ledger, or its `report.html` is not the page of batches.
        CosmosError, DiskFull: it cannot be written.
    """
    page, ledgers = folder / PAGE_NAME, find_ledgers(folder)
    if not ledgers:
        raise InputError(
            "holds no ledger of a batch.", where=str(folder), fix="Name the folder that the batch writes to."
        )
    if page.exists() and not _is_ours(page):
        raise InputError("is not the report of a batch, and stays as it is.", where=str(page), fix="Move it away.")
    with looking([folder]):
        items, html = _html(ledgers)
        # made by us, and no text in which a secret could stand
        html = with_inputs_inside(hide(html), (medium for item in items for medium in item.beside), page)
    with replacing(page) as temporary:
        # names of videos may hold bytes that are not UTF-8
        temporary.write_text(html, encoding="utf-8", errors="backslashreplace")
    return page


@contextmanager
def keeping_page(ledger: Path, *, is_ours: bool = True) -> Iterator[None]:
    """A block in which a batch runs: its page is written now and then, and at the end, however it ends.

    Args:
        is_ours: False for a process that works along with the one that the ledger is for.
    """
    if not is_ours:
        yield
        return
    is_over, told = threading.Event(), set[str]()

    def write() -> None:
        if not ledger.exists():
            return
        try:
            write_page(ledger.parent)
        except Exception as error:  # the border: a batch is worth more than what tells of it
            why = error.problems[0].what.rstrip(".") if isinstance(error, CosmosError) else reason(error)
            if why not in told:
                told.add(why)
                output.notice(f"{ledger.with_name(PAGE_NAME)} is not written: {why}")

    def refresh() -> None:
        pause = _REFRESH_S
        while not is_over.wait(pause):
            start = time.perf_counter()
            write()
            pause = max(_REFRESH_S, _SHARE * (time.perf_counter() - start))

    refreshing = threading.Thread(target=refresh, name="report", daemon=True)
    refreshing.start()
    try:
        yield
    finally:
        is_over.set()
        refreshing.join()
        write()


def _is_ours(page: Path) -> bool:
    try:
        return _MARK in beginning(page, _MARKED_BYTES)
    except OSError:
        return False


def _html(ledgers: list[Path]) -> tuple[list[Shown], str]:
    """The items that are shown, in their order, and the page without its pictures of inputs."""
    items: list[Shown] = []
    running = False
    for ledger in ledgers:
        runs = is_in_use(ledger)
        running |= runs
        batch = ledger.name.removesuffix(ENDING) if len(ledgers) > 1 else ""
        entries = read_ledger(ledger).entries()
        read_ahead(ledger.parent / name for entry in entries for name in entry.files if name.endswith(".json"))
        for entry in entries:
            items.append(shown(entry, state(entry, runs=runs), ledger.parent, batch))
    counts = Counter(item.status for item in items)
    html = render(
        "cosmos_cli.batch:page.html.j2",
        title=", ".join(ledger.name.removesuffix(ENDING) for ledger in ledgers),
        items=settings_that_differ(items),
        counts=[(status, counts[status]) for status in _STATES if counts[status]],
        runs=running,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z"),
        inputs_inside=PLACE,
    )
    return items, html
