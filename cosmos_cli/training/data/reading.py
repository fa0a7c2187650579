"""Reading the clips of one forward pass, in this process or in one that reads ahead: with the same result."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cosmos_cli.errors import InputError, Problem
from cosmos_cli.training.data.examples import Example, Examples, collate
from cosmos_cli.training.data.order import Order, generator_of
from cosmos_cli.training.data.source import Dataset

MAX_IN_A_ROW = 20
"""Clips one after another of which none can be read."""


@dataclass(frozen=True)
class Passage:
    """What was read for one forward pass. Errors are told here, since exceptions lose themselves between processes.

    examples: None if there is an error.
    replaced: what is wrong with clips in whose place others were taken.
    error: why the training cannot go on.
    """

    examples: Examples | None
    replaced: tuple[Problem, ...] = ()
    error: Problem | None = None

    def pin_memory(self) -> Passage:
        """The same in memory that a GPU can fetch while others work; torch calls this."""
        if self.examples is None:
            return self

        def pinned(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.pin_memory()
            return {name: tensor.pin_memory() for name, tensor in value.items()} if isinstance(value, dict) else value

        fields = {field.name: getattr(self.examples, field.name) for field in dataclasses.fields(self.examples)}
        return dataclasses.replace(self, examples=Examples(**{name: pinned(of) for name, of in fields.items()}))


class Reader:
    """Reads the clips at positions of the training. It is copied to other processes."""

    def __init__(self, dataset: Dataset, seed: int, *, shuffles: bool = True) -> None:
        self._dataset, self._seed = dataset, seed
        self._order = Order(len(dataset), seed, shuffles=shuffles)

    def __call__(self, positions: Sequence[int]) -> Passage:
        replaced: list[Problem] = []
        try:
            examples = [self._example(position, replaced) for position in positions]
        except InputError as error:
            return Passage(None, tuple(replaced), error.problems[0])
        try:
            return Passage(collate(examples), tuple(replaced))
        except ValueError as error:
            return Passage(None, tuple(replaced), Problem(f"{error}.", "data", "Set data.batch_size=1."))

    def _example(self, position: int, replaced: list[Problem]) -> Example:
        """The clip at a position, or the next in the order that can be read, whoever reads it.

        Raises:
            InputError: there is none nearby.
        """
        for step in range(MAX_IN_A_ROW):
            index = self._order.clip(position + step)
            try:
                return self._dataset.example(index, generator_of(self._seed, 1, position))
            except InputError as error:
                last = error
                replaced.append(error.problems[0])
        raise InputError(
            f"{last.problems[0].what} So are the {MAX_IN_A_ROW - 1} clips before it in the order of training.",
            where=last.problems[0].where,
            fix="Is the disk there? Look at the files that were named before.",
        ) from last
