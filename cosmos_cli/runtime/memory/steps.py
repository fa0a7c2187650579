"""How many steps below its plan of memory a run begins: workers that start again after one of them ran out begin so.

The workers of a run cannot step down where they stand: those that did not run out wait for the one that did.
"""

from __future__ import annotations

import os

from cosmos_cli.errors import CosmosError, InputError

STEPS_VARIABLE = "COSMOS_MEMORY_STEPS"
"""Variable that gives the number of steps; none if it is not set."""


class OutOfMemory(CosmosError):
    """The device of one of several workers is too small for a plan; it ends all workers, for the others wait for it.

    below: what they can start again with, in words; None below the lowest plan.
    """

    title = "Out of memory"

    def __init__(self, what: str, *, fix: str, below: str | None = None) -> None:
        self.below = below
        super().__init__(what, fix=fix)


def read_steps() -> int:
    """The number of steps.

    Raises:
        InputError: the variable is no such number.
    """
    given = os.environ.get(STEPS_VARIABLE) or "0"
    if not (given.isascii() and given.isdigit()):
        raise InputError(f"{given!r} is not a number of steps, 0 or more.", where=STEPS_VARIABLE, fix="Unset it.")
    return int(given)
