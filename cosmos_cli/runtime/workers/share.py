"""One of several equal shares of a job, each made by a command of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_SHARES = 10_000


@dataclass(frozen=True)
class Share:
    """Share `number` of `of`, counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """Raises ValueError: it is not written as 3/8."""
        found = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text.strip())
        share = cls(int(found[1]), int(found[2])) if found else None
        if share is None or not 1 <= share.number <= share.of <= MAX_SHARES:
            raise ValueError(f"is {text[:20]!r}, not a share such as 3/8, from 1/8 to 8/8.")
        return share

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def takes(self, index: int) -> bool:
        """Whether the row with this number, from 0, belongs to it."""
        return index % self.of == self.number - 1
