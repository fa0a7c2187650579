"""What moves in a rendered world: solids with a name, of a colour, on a path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cosmos_cli.worlds.exact import dot, product, turned
from cosmos_cli.worlds.solids import Box, Capsule, Cone, Cylinder, Ellipsoid, Solid

# F frames; metres, float64

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (245, 134, 24),
    "yellow": (246, 212, 48),
    "green": (46, 158, 62),
    "cyan": (52, 199, 212),
    "blue": (40, 82, 214),
    "purple": (132, 54, 186),
    "pink": (246, 128, 186),
}
SIZES = {"small": 0.4, "": 0.54, "large": 0.7}
"""Word to what is half of a ball's width."""
SHAPES = ("cube", "ball", "cylinder", "cone", "pill")

_UP = np.array([0.0, 0.0, 1.0])
_PI = 3.141592653589793


@dataclass(frozen=True)
class Body:
    """One solid.

    yaw: by which it is turned about its vertical, in turns.
    path_F3: where its centre is.
    """

    shape: str
    colour: str
    size: str
    yaw: float
    path_F3: np.ndarray

    @property
    def noun(self) -> str:
        return f"{self.size} {self.colour} {self.shape}".strip()

    @property
    def is_moving(self) -> bool:
        return bool((self.path_F3[-1] != self.path_F3[0]).any())

    @property
    def half_height(self) -> float:
        return half_height(self.shape, self.size)

    @property
    def girth(self) -> float:
        """No part is farther from the vertical through the centre."""
        return SIZES[self.size] * {"cube": 1.14, "ball": 1.0, "cylinder": 0.74, "cone": 0.95, "pill": 0.56}[self.shape]

    @cached_property
    def solid(self) -> Solid:
        """In its own axes, around zero."""
        radius, half = SIZES[self.size], self.half_height
        place = (0, np.zeros_like, np.eye(3), np.zeros(3))
        match self.shape:
            case "cube":
                return Box(*place, np.full(3, half, np.float32))
            case "ball":
                return Ellipsoid(*place, np.full(3, radius, np.float32))
            case "cylinder":
                return Cylinder(*place, half, 0.74 * radius)
            case "cone":
                return Cone(*place, half, 0.95 * radius)
            case _:
                return Capsule(*place, half - 0.56 * radius, 0.56 * radius)

    @cached_property
    def rotations_F33(self) -> np.ndarray:
        """Its axes, as columns, in the world; F = 1 where they stay. A ball rolls along its path over the floor."""
        yaw_133 = turned(_UP, np.array([self.yaw]))
        way_3 = self.path_F3[-1] - self.path_F3[0]
        length = float(np.sqrt(way_3[0] ** 2 + way_3[1] ** 2))
        if self.shape != "ball" or length < 1e-6 or abs(way_3[2]) > 1e-6:
            return yaw_133
        axis_3 = np.array([-way_3[1] / length, way_3[0] / length, 0.0])
        gone_F3 = self.path_F3 - self.path_F3[0]
        turns_F = np.sqrt(dot(gone_F3, gone_F3)) / (2 * _PI * SIZES[self.size])
        return product(turned(axis_3, turns_F), yaw_133)


def half_height(shape: str, size: str) -> float:
    """From the centre to the floor that it stands on."""
    return SIZES[size] * {"cube": 0.8, "ball": 1.0, "cylinder": 0.85, "cone": 1.0, "pill": 1.05}[shape]
