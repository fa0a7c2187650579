"""Reading the clips of one forward pass, in this process or in one that reads ahead: with the same result."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cosmos_cli.errors import InputError, Problem
from cosmos_cli.training.data.examples import Example, Examples, collate
from cosmos_cli.training.data.kept import Gathered, Kept
from cosmos_cli.training.data.order import Order, generator_of
from cosmos_cli.training.data.source import Dataset
from cosmos_cli.training.task import Batch

MAX_IN_A_ROW = 20
"""Clips one after another of which none can be read."""


@dataclass(frozen=True)
class Passage:
    """What was read for one forward pass. Errors are told here, since exceptions lose themselves between processes.

    clips: None if there is an error.
    replaced: what is wrong with clips in whose place others were taken.
    error: why the training cannot go on.
    """

    clips: Examples | Gathered | None
    replaced: tuple[Problem, ...] = ()
    error: Problem | None = None

    def pin_memory(self) -> Passage:
        """The same in memory that a GPU can fetch while others work; torch calls this."""
        return dataclasses.replace(self, clips=_pinned(self.clips))


def _pinned(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.pin_memory()
    if isinstance(value, dict):
        return {name: _pinned(each) for name, each in value.items()}
    if isinstance(value, Examples | Gathered | Batch):
        of = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **{name: _pinned(each) for name, each in of.items()})
    return tuple(_pinned(each) for each in value) if isinstance(value, tuple) else value


class Reader:
    """Reads the clips at positions of the training. It is copied to other processes.

    Args:
        kept: clips that are encoded already and are not read; None is none. What chance decides on a clip is then
            decided once, by its number in place of its position, so that it is the same in every epoch and training.
    """

    def __init__(self, dataset: Dataset, seed: int, *, shuffles: bool = True, kept: Kept | None = None) -> None:
        self._dataset, self._seed, self._kept = dataset, seed, kept
        self._order = Order(len(dataset), seed, shuffles=shuffles)

    def __call__(self, positions: Sequence[int]) -> Passage:
        replaced: list[Problem] = []
        try:
            found = [self._clip(position, replaced) for position in positions]
        except InputError as error:
            return Passage(None, tuple(replaced), error.problems[0])
        read = [clip for _, clip in found if isinstance(clip, Example)]
        try:
            examples = collate(read) if read else None
        except ValueError as error:
            return Passage(None, tuple(replaced), Problem(f"{error}.", "data", "Set data.batch_size=1."))
        if self._kept is None:
            return Passage(examples, tuple(replaced))
        numbers = tuple(number for number, _ in found)
        encoded = tuple(clip if isinstance(clip, Batch) else None for _, clip in found)
        return Passage(Gathered(numbers, encoded, examples), tuple(replaced))

    def _clip(self, position: int, replaced: list[Problem]) -> tuple[int, Example | Batch]:
        """The clip at a position, or the next in the order that can be read, whoever reads it, and its number.

        Raises:
            InputError: there is none nearby.
        """
        for step in range(MAX_IN_A_ROW):
            number = self._order.clip(position + step)
            kept = None if self._kept is None else self._kept.get(number)
            if kept is not None:
                return number, kept
            chance = generator_of(self._seed, 1, position if self._kept is None else number)
            try:
                return number, self._dataset.example(number, chance)
            except InputError as error:
                last = error
                replaced.append(error.problems[0])
        raise InputError(
            f"{last.problems[0].what} So are the {MAX_IN_A_ROW - 1} clips before it in the order of training.",
            where=last.problems[0].where,
            fix="Is the disk there? Look at the files that were named before.",
        ) from last
