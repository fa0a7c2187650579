"""What was measured, line by line, as a table for people and a document for machines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cosmos_cli import output

Scores = dict[str, float]
"""Name of a measure to its value."""


@dataclass(frozen=True)
class Goal:
    """What a measure shall reach: at least `must`, better `aim`. unit: "dB", "%" or nothing."""

    must: float | None = None
    aim: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class Row:
    """One measure, of the weights that ship, of untrained ones, and of the rendered truth in their place."""

    part: str
    name: str
    trained: float
    untrained: float | None
    truth: float | None
    goal: Goal
    num_clips: int

    @property
    def is_reached(self) -> bool | None:
        """None where nothing is asked."""
        return None if self.goal.must is None else self.trained >= self.goal.must

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "is_reached": self.is_reached}


def rows_of(
    part: str, goals: dict[str, Goal], trained: Scores, untrained: Scores, truth: Scores, *, num_clips: int
) -> list[Row]:
    """A row for each measure of the trained weights; those without a goal are told all the same."""
    return [
        Row(part, name, value, untrained.get(name), truth.get(name), goals.get(name, Goal()), num_clips)
        for name, value in trained.items()
    ]


def table(rows: list[Row]) -> str:
    """For people; what is asked and not reached says so."""
    lines = []
    for row in rows:
        values = (row.trained, row.untrained, row.truth, row.goal.must, row.goal.aim)
        shown = [_shown(value, row.goal.unit) for value in values]
        verdict = {None: "", True: "reached", False: "MISSED"}[row.is_reached]
        lines.append((row.part, row.name, str(row.num_clips), *shown, verdict))
    return output.table(("PART", "MEASURE", "CLIPS", "TRAINED", "UNTRAINED", "TRUTH", "MUST", "AIM", ""), lines)


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = 0 if unit == "%" else 1 if unit == "dB" else 2
    return f"{value:.{digits}f}{f' {unit}' if unit else ''}"
