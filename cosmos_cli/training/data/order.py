"""Which clips a step takes."""

from __future__ import annotations

import hashlib

import torch


class Order:
    """The clips of every step: another permutation in each epoch, from seed, position and number of clips alone.

    Args:
        shuffles: False takes the clips as they stand, in every epoch alike.
    """

    def __init__(self, num_clips: int, seed: int, *, shuffles: bool = True) -> None:
        self._num_clips, self._seed, self._shuffles = num_clips, seed, shuffles
        self._permutations: dict[int, torch.Tensor] = {}

    def clip(self, position: int) -> int:
        """Which clip is the `position`-th of the training."""
        epoch, place = divmod(position, self._num_clips)
        if not self._shuffles:
            return place
        if epoch not in self._permutations:
            near = {known: order for known, order in self._permutations.items() if abs(known - epoch) == 1}
            own = torch.randperm(self._num_clips, generator=generator_of(self._seed, epoch))
            self._permutations = {**near, epoch: own}
        return int(self._permutations[epoch][place])


def generator_of(*numbers: int) -> torch.Generator:
    """Chance that depends on these numbers alone."""
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
