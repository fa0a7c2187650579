"""What is wrong with the clips and texts of a data set, all of it, before anything is trained on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cosmos_cli import output
from cosmos_cli.errors import InputError, Problem
from cosmos_cli.training.data.source import open_dataset
from cosmos_cli.training.recipe import Recipe

T = TypeVar("T")
R = TypeVar("R")

_NUM_NAMED = 10
"""Problems that are told in full."""
_MAX_THREADS = 16


def check_data(recipe: Recipe) -> None:
    """Look at every clip and text of a recipe's data set, at headers only.

    Raises:
        InputError: the data set is not there, or what is wrong with its clips and texts.
    """
    check: Callable[[], None] | None = getattr(open_dataset(recipe), "check", None)
    if check is not None:
        check()


def check_each(items: Sequence[T], problems_of: Callable[[T], list[Problem]], *, what: str) -> None:
    """Look at many things in several threads.

    Args:
        what: they are, such as "clips".
    Raises:
        InputError: there are problems: the first in full, and how many more.
    """
    with output.progress(f"Checking {len(items)} {what}", len(items), what) as advance:
        found = [problem for problems in in_threads(problems_of, items, advance) for problem in problems]
    tell(found)


def tell(problems: Sequence[Problem]) -> None:
    """Raises InputError if there are any."""
    if not problems:
        return
    named = list(problems[:_NUM_NAMED])
    if more := len(problems) - len(named):
        named.append(Problem(f"and {more} more of the kind, in clips and texts that come after these."))
    raise InputError.from_problems(named)


def in_threads(function: Callable[[T], R], items: Iterable[T], advance: Callable[[], None] = lambda: None) -> list[R]:
    """What a function gives for each, in order. FFmpeg and the disk work without Python's lock."""
    pool = ThreadPoolExecutor(min(_MAX_THREADS, 4 * (os.cpu_count() or 1)))
    try:
        results = []
        for result in pool.map(function, items):
            results.append(result)
            advance()
        return results
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C the rest is not begun


def problems_in(*checks: Callable[[], object]) -> list[Problem]:
    """What checks of one thing find."""
    found: list[Problem] = []
    for check in checks:
        try:
            check()
        except InputError as error:
            found += error.problems
    return found
