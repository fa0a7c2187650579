"""Which clips a step takes, and reading them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch

from cosmos_cli.training.data.examples import Examples, collate
from cosmos_cli.training.data.source import Dataset
from cosmos_cli.training.recipe import Data


class Order:
    """The clips of every step: another permutation in each epoch, from seed, position and number of clips alone."""

    def __init__(self, num_clips: int, seed: int) -> None:
        self._num_clips, self._seed = num_clips, seed
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def clip(self, position: int) -> int:
        """Which clip is the `position`-th of the training."""
        epoch, place = divmod(position, self._num_clips)
        if epoch != self._epoch:
            self._epoch = epoch
            self._permutation = torch.randperm(self._num_clips, generator=generator_of(self._seed, epoch))
        return int(self._permutation[place])


def generator_of(*numbers: int) -> torch.Generator:
    """Chance that depends on these numbers alone."""
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class Loader:
    """The clips of every step for one data-parallel rank, in micro-batches.

    Args:
        global_batch_size: clips of a step over all ranks, a multiple of `world` times the batch size.
        rank, world: data-parallel.
        first_step: counted from 0.
    """

    def __init__(
        self,
        dataset: Dataset,
        data: Data,
        *,
        seed: int,
        global_batch_size: int,
        rank: int = 0,
        world: int = 1,
        first_step: int = 0,
    ) -> None:
        self._dataset, self._data, self._seed = dataset, data, seed
        self._size, self._rank, self._world, self._step = global_batch_size, rank, world, first_step
        self._order = Order(len(dataset), seed)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __iter__(self) -> Iterator[list[tuple[Examples, tuple[int, ...]]]]:
        """Steps without end."""
        while True:
            own = range(self._rank * self._size // self._world, (self._rank + 1) * self._size // self._world)
            size = self._data.batch_size
            places = [tuple(own[start : start + size]) for start in range(0, len(own), size)]
            yield [(self._examples(these), these) for these in places]
            self._step += 1

    def _examples(self, places: tuple[int, ...]) -> Examples:
        positions = [self._step * self._size + place for place in places]
        return collate(
            [
                self._dataset.example(self._order.clip(position), generator_of(self._seed, 1, position))
                for position in positions
            ]
        )
