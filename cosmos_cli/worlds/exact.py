"""Arithmetic that gives the same bytes on every machine, and chance that does.

Sums, products, quotients and roots of single numbers are the same everywhere; libraries for matrices and for sines
round as their authors and the processor please. So matrices are multiplied here number by number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

# F frames; 3 is x, y, z; float64

_TWO_PI = 6.283185307179586
_NUM_TERMS = 13


class Chance:
    """Draws that follow from numbers alone, whatever the version of NumPy."""

    def __init__(self, *numbers: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(numbers))

    def share(self) -> float:
        """In 0..1, without 1."""
        return (self._bits.random_raw() >> 11) * 2.0**-53

    def shares(self, *shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        return ((self._bits.random_raw(count) >> np.uint64(11)) * 2.0**-53).reshape(shape)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.share()

    def sign(self) -> int:
        return 1 if self.share() < 0.5 else -1

    def one_of(self, things: Sequence[T]) -> T:
        return things[int(self.share() * len(things))]

    def some_of(self, things: Sequence[T], count: int) -> list[T]:
        """So many of them, each once, in an order of chance."""
        left = list(things)
        return [left.pop(int(self.share() * len(left))) for _ in range(count)]


def circle(turns: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of angles in full turns, to some 1e-15."""
    turns = np.asarray(turns, np.float64)
    angle = (turns - np.floor(turns + 0.5)) * _TWO_PI
    square = angle * angle
    cosine, sine = np.ones_like(angle), np.ones_like(angle)
    for n in range(_NUM_TERMS, 0, -1):
        cosine = 1 - square / ((2 * n - 1) * (2 * n)) * cosine
        sine = 1 - square / (2 * n * (2 * n + 1)) * sine
    return cosine, angle * sine


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of vectors on the last axis."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    parts = [a[..., i - 2] * b[..., i - 1] - a[..., i - 1] * b[..., i - 2] for i in range(3)]
    return np.stack(parts, axis=-1)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt(dot(vectors, vectors))[..., None]


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of matrices (..., 3, 3)."""
    return sum(a[..., :, i, None] * b[..., None, i, :] for i in range(3))


def into(rotations: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors in the axes that are the columns of rotations (..., 3, 3)."""
    return sum(rotations[..., i, :] * vectors[..., i, None] for i in range(3))


def out_of(rotations: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors given in the axes that are the columns of rotations, in those of the world."""
    return sum(rotations[..., :, i] * vectors[..., i, None] for i in range(3))


def turned(axis_3: np.ndarray, turns_F: np.ndarray) -> np.ndarray:
    """Rotations about a unit vector, (F, 3, 3)."""
    cosine_F, sine_F = circle(turns_F)
    x, y, z = axis_3
    skew_33 = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    outer_33 = axis_3[:, None] * axis_3[None]
    spread_F11 = cosine_F[:, None, None]
    return spread_F11 * np.eye(3) + (1 - spread_F11) * outer_33 + sine_F[:, None, None] * skew_33
