"""What floors and walls are painted with: tiling patterns, each at every sharpness."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from cosmos_cli.worlds.exact import Chance

# S side of the sharpest pattern in texels; N points; values are shares 0..1 of a second colour

SIDE = 256
TEXELS_PER_METRE = 64.0
"""So a pattern repeats every 4 metres."""
_NUM_LEVELS = 9
_OFFSETS = np.array([sum(4**i for i in range(9 - level, 9)) for level in range(_NUM_LEVELS)], np.int32)
_SCALES = np.array([2.0**-level for level in range(_NUM_LEVELS)], np.float32)
_MASKS = np.array([(SIDE >> level) - 1 for level in range(_NUM_LEVELS)], np.int32)
_SHIFTS = np.array([8 - level for level in range(_NUM_LEVELS)], np.int32)


@dataclass(frozen=True)
class Pattern:
    """word: how a caption calls a floor with it. levels: all sharpnesses in one array, the sharpest first."""

    word: str
    levels: np.ndarray

    def at(self, u_N: np.ndarray, v_N: np.ndarray, metres_N: np.ndarray) -> np.ndarray:
        """Values at places, float32.

        Args:
            u_N, v_N: in metres, not below 0.
            metres_N: how much of the surface a pixel covers there.
        """
        # the exponent of a float32 is its level: no logarithm, which would round as the machine likes
        texels_N = np.maximum(metres_N * np.float32(TEXELS_PER_METRE), np.float32(1))
        level_N = np.minimum((texels_N.view(np.int32) >> 23) - 127, _NUM_LEVELS - 1)
        scale_N, mask_N = _SCALES[level_N] * np.float32(TEXELS_PER_METRE), _MASKS[level_N]
        shift_N, offset_N = _SHIFTS[level_N], _OFFSETS[level_N]
        # half a texel up, and a whole pattern, so that nothing is below 0
        x_N, y_N = u_N * scale_N + np.float32(SIDE - 0.5), v_N * scale_N + np.float32(SIDE - 0.5)
        column_N, row_N = x_N.astype(np.int32), y_N.astype(np.int32)
        x_N -= column_N
        y_N -= row_N
        left_N, right_N = column_N & mask_N, (column_N + 1) & mask_N
        above_N = ((row_N & mask_N) << shift_N) + offset_N
        below_N = (((row_N + 1) & mask_N) << shift_N) + offset_N
        levels = self.levels
        upper_N, lower_N = levels.take(above_N + left_N), levels.take(below_N + left_N)
        upper_N += (levels.take(above_N + right_N) - upper_N) * x_N
        lower_N += (levels.take(below_N + right_N) - lower_N) * x_N
        lower_N -= upper_N
        lower_N *= y_N
        return upper_N + lower_N


@cache
def patterns() -> tuple[Pattern, ...]:
    """All of them. Each is made once in a process."""
    rows, columns = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE
    chance = Chance(1)
    grain = _clouds(chance, 32, 4)
    made = {
        "checkered": _soft((np.floor(rows * 4) + np.floor(columns * 4)) % 2),
        "striped": _soft(np.floor(columns * 8) % 2),
        "tiled": 1 - np.maximum(_line(rows * 4, 0.05), _line(columns * 4, 0.05)) - 0.3 * _cells(chance, 4, 4),
        "wooden": _planks(chance, rows, columns),
        "brick": _bricks(chance, rows, columns),
        "mottled": _clouds(chance, 8, 4),
        "dotted": _dots(rows * 8, columns * 8),
    }
    return tuple(Pattern(word, _pyramid(0.85 * values + 0.15 * grain)) for word, values in made.items())


def _pyramid(values_SS: np.ndarray) -> np.ndarray:
    level_SS, levels = values_SS.clip(0, 1), []
    for _ in range(_NUM_LEVELS):
        levels.append(level_SS.astype(np.float32).ravel())
        if len(level_SS) > 1:
            level_SS = (level_SS[::2, ::2] + level_SS[1::2, ::2] + level_SS[::2, 1::2] + level_SS[1::2, 1::2]) / 4
    return np.concatenate(levels)


def _soft(values_SS: np.ndarray) -> np.ndarray:
    """With edges two texels wide."""
    for axis in (0, 1):
        values_SS = (values_SS + np.roll(values_SS, 1, axis)) / 2
    return values_SS


def _line(place: np.ndarray, width: float) -> np.ndarray:
    """1 near whole numbers, else 0."""
    away = np.abs(place - np.floor(place + 0.5))
    return ((width - away) * 40 + 0.5).clip(0, 1)


def _cells(chance: Chance, num_rows: int, num_columns: int) -> np.ndarray:
    """A value of its own for each cell of a grid."""
    values = chance.shares(num_rows, num_columns)
    return values.repeat(SIDE // num_rows, 0).repeat(SIDE // num_columns, 1)


def _clouds(chance: Chance, coarsest: int, num_octaves: int) -> np.ndarray:
    total, weight = np.zeros((SIDE, SIDE)), 0.5
    for octave in range(num_octaves):
        total += weight * _smooth(chance.shares(coarsest << octave, coarsest << octave))
        weight /= 2
    return ((total - 0.47) * 1.8 + 0.5).clip(0, 1)


def _smooth(lattice: np.ndarray) -> np.ndarray:
    """A tiling lattice, brought to full size without corners."""
    for axis in (0, 1):
        count = lattice.shape[axis]
        place = np.arange(SIDE) * (count / SIDE)
        low = np.floor(place).astype(int)
        part = place - low
        part = (part * part * (3 - 2 * part)).reshape((-1, 1) if axis == 0 else (1, -1))
        lattice = lattice.take(low, axis) * (1 - part) + lattice.take((low + 1) % count, axis) * part
    return lattice


def _planks(chance: Chance, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    tones = _cells(chance, 8, 2)
    stretched = _smooth(chance.shares(64, 4))
    gaps = np.maximum(_line(rows * 8, 0.05), _line(columns * 2, 0.012))
    return (0.25 + 0.35 * tones + 0.4 * stretched) * (1 - 0.8 * gaps)


def _bricks(chance: Chance, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    course = np.floor(rows * 16)
    place = columns * 8 + 0.5 * (course % 2)
    mortar = np.maximum(_line(rows * 16, 0.1), _line(place, 0.05))
    tones = chance.shares(16, 8)[course.astype(int), np.floor(place).astype(int) % 8]
    return (0.35 + 0.4 * tones) * (1 - mortar) + mortar


def _dots(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    x, y = columns - np.floor(columns) - 0.5, rows - np.floor(rows) - 0.5
    return ((0.09 - x * x - y * y) * 20 + 0.5).clip(0, 1)
