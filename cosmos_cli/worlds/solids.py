"""Simple solids that rays meet exactly: what rendered worlds are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

# N rays or points; coordinates x, y, z in metres, float64

Paint = Callable[[np.ndarray], np.ndarray]
"""Points in a solid's own coordinates (N, 3) to colours (N, 3) in 0..1."""

NEAREST = 1e-6
"""Metres in front of a ray's start that do not count, so that a surface does not meet itself."""


class Rays:
    """Rays that have their origin or their direction in common: one of the two is (1, 3), the other (N, 3)."""

    def __init__(self, origins_N3: np.ndarray, directions_N3: np.ndarray) -> None:
        self._origins_N3, self._directions_N3 = origins_N3, directions_N3
        self._lengths_N = _dot(directions_N3, directions_N3)
        self._from_zero_N = _dot(origins_N3, origins_N3)
        self._ahead_N = (origins_N3 @ directions_N3.T).reshape(-1)

    def __len__(self) -> int:
        return len(self._ahead_N)

    def __getitem__(self, which_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Origins and directions of some rays; what they have in common stays (1, 3)."""
        origins_M3, directions_M3 = (
            each_N3 if len(each_N3) == 1 else each_N3[which_M] for each_N3 in (self._origins_N3, self._directions_N3)
        )
        return origins_M3, directions_M3

    def squares_to(self, point_3: np.ndarray) -> np.ndarray:
        """Square of the distance of a point from each ray's line, (N,), in square metres."""
        along_N = self._directions_N3 @ point_3 - self._ahead_N
        away_N = point_3 @ point_3 - 2 * (self._origins_N3 @ point_3) + self._from_zero_N
        return away_N - along_N**2 / self._lengths_N


@dataclass(frozen=True)
class Solid(ABC):
    """Something that rays meet, somewhere in the world.

    rotation_33: from the solid's own axes to the world's. centre_3: its own origin in the world.
    """

    label: int
    paint: Paint
    rotation_33: np.ndarray
    centre_3: np.ndarray

    def to_own(self, points_N3: np.ndarray) -> np.ndarray:
        """Points of the world (N, 3) in the solid's own coordinates."""
        return (points_N3 - self.centre_3) @ self.rotation_33

    def meet(self, rays: Rays) -> np.ndarray:
        """How many times its direction a ray goes from its origin to the surface, (N,); infinity where it misses."""
        distances = np.full(len(rays), np.inf)
        near = np.flatnonzero(rays.squares_to(self.centre_3) < self.reach**2)
        if near.size:
            origins_N3, directions_N3 = rays[near]
            distances[near] = self.meet_own(self.to_own(origins_N3), directions_N3 @ self.rotation_33)
        return distances

    @property
    @abstractmethod
    def reach(self) -> float:
        """No part of the surface is farther from the centre, in metres."""

    def normals(self, points_N3: np.ndarray) -> np.ndarray:
        """Which way the surface faces at points of it (N, 3), in the world; of length 1."""
        return self.own_normals(self.to_own(points_N3)) @ self.rotation_33.T

    @abstractmethod
    def meet_own(self, origins_N3: np.ndarray, directions_N3: np.ndarray) -> np.ndarray:
        """As `meet`, of rays in own coordinates; origins or directions may be one row, (1, 3), for all."""

    @abstractmethod
    def own_normals(self, points_N3: np.ndarray) -> np.ndarray:
        """As `normals`, of points in own coordinates and in these."""


@dataclass(frozen=True)
class Box(Solid):
    half_3: np.ndarray

    @property
    def reach(self) -> float:
        return float(np.linalg.norm(self.half_3))

    def meet_own(self, origins_N3: np.ndarray, directions_N3: np.ndarray) -> np.ndarray:
        enter, leave = _slabs(self.half_3, origins_N3, directions_N3)
        return np.where((enter <= leave) & (enter > NEAREST), enter, np.inf)

    def own_normals(self, points_N3: np.ndarray) -> np.ndarray:
        return _face_normals(points_N3 / self.half_3)


@dataclass(frozen=True)
class Room(Box):
    """A box seen from inside."""

    def meet_own(self, origins_N3: np.ndarray, directions_N3: np.ndarray) -> np.ndarray:
        return _slabs(self.half_3, origins_N3, directions_N3)[1]

    def own_normals(self, points_N3: np.ndarray) -> np.ndarray:
        return -super().own_normals(points_N3)


@dataclass(frozen=True)
class Ellipsoid(Solid):
    radii_3: np.ndarray

    @property
    def reach(self) -> float:
        return float(self.radii_3.max())

    def meet_own(self, origins_N3: np.ndarray, directions_N3: np.ndarray) -> np.ndarray:
        return _meet_ball(origins_N3 / self.radii_3, directions_N3 / self.radii_3, 1.0)

    def own_normals(self, points_N3: np.ndarray) -> np.ndarray:
        return _unit(points_N3 / self.radii_3**2)


@dataclass(frozen=True)
class Capsule(Solid):
    """A rod with round ends, along its own z axis."""

    half_length: float
    radius: float

    @property
    def reach(self) -> float:
        return self.half_length + self.radius

    def meet_own(self, origins_N3: np.ndarray, directions_N3: np.ndarray) -> np.ndarray:
        sides = _meet_ball(origins_N3[..., :2], directions_N3[..., :2], self.radius)
        with np.errstate(invalid="ignore"):
            heights = origins_N3[..., 2] + sides * directions_N3[..., 2]
        sides = np.where(np.abs(heights) <= self.half_length, sides, np.inf)
        for end in (-self.half_length, self.half_length):
            sides = np.minimum(sides, _meet_ball(origins_N3 - (0.0, 0.0, end), directions_N3, self.radius))
        return sides

    def own_normals(self, points_N3: np.ndarray) -> np.ndarray:
        axis_N3 = np.zeros_like(points_N3)
        axis_N3[..., 2] = points_N3[..., 2].clip(-self.half_length, self.half_length)
        return _unit(points_N3 - axis_N3)


@dataclass(frozen=True)
class Cylinder(Solid):
    """Along its own z axis, with flat ends."""

    half_length: float
    radius: float

    @property
    def reach(self) -> float:
        return sqrt(self.half_length**2 + self.radius**2)

    def meet_own(self, origins_N3: np.ndarray, directions_N3: np.ndarray) -> np.ndarray:
        a, b = _dot(directions_N3[:, :2], directions_N3[:, :2]), _dot(origins_N3[:, :2], directions_N3[:, :2])
        square = b * b - a * (_dot(origins_N3[:, :2], origins_N3[:, :2]) - self.radius**2)
        with np.errstate(invalid="ignore", divide="ignore"):
            root = np.sqrt(square)
            low, high = (
                (end - origins_N3[:, 2]) / directions_N3[:, 2] for end in (-self.half_length, self.half_length)
            )
            enter = np.maximum((-b - root) / a, np.minimum(low, high))
            leave = np.minimum((-b + root) / a, np.maximum(low, high))
            return np.where((enter <= leave) & (enter > NEAREST), enter, np.inf)

    def own_normals(self, points_N3: np.ndarray) -> np.ndarray:
        out = _dot(points_N3[:, :2], points_N3[:, :2]) / self.radius**2
        is_end = np.abs(points_N3[:, 2]) / self.half_length > np.sqrt(out)
        normals_N3 = points_N3 / self.radius
        normals_N3[:, 2] = 0
        normals_N3[is_end] = 0
        normals_N3[is_end, 2] = np.sign(points_N3[is_end, 2])
        return normals_N3


@dataclass(frozen=True)
class Cone(Solid):
    """Along its own z axis: the tip at half_length, the base at -half_length."""

    half_length: float
    radius: float

    @property
    def reach(self) -> float:
        return sqrt(self.half_length**2 + self.radius**2)

    def meet_own(self, origins_N3: np.ndarray, directions_N3: np.ndarray) -> np.ndarray:
        slope = self.radius / (2 * self.half_length)
        below, down = (self.half_length - origins_N3[:, 2]) * slope, directions_N3[:, 2] * slope
        a = _dot(directions_N3[:, :2], directions_N3[:, :2]) - down * down
        b = _dot(origins_N3[:, :2], directions_N3[:, :2]) + below * down
        square = b * b - a * (_dot(origins_N3[:, :2], origins_N3[:, :2]) - below * below)
        with np.errstate(invalid="ignore", divide="ignore"):
            root = np.sqrt(square)
            nearest = np.full(len(a), np.inf, a.dtype)
            for met in ((-b - root) / a, (-b + root) / a):
                height = origins_N3[:, 2] + met * directions_N3[:, 2]
                nearest = np.where(
                    (np.abs(height) <= self.half_length) & (met > NEAREST), np.fmin(met, nearest), nearest
                )
            met = (-self.half_length - origins_N3[:, 2]) / directions_N3[:, 2]
            x, y = (origins_N3[:, i] + met * directions_N3[:, i] for i in range(2))
            is_base = (x * x + y * y <= self.radius**2) & (met > NEAREST)
            return np.where(is_base, np.fmin(met, nearest), nearest)

    def own_normals(self, points_N3: np.ndarray) -> np.ndarray:
        slope = self.radius / (2 * self.half_length)
        normals_N3 = points_N3.copy()
        normals_N3[:, 2] = slope * slope * (self.half_length - points_N3[:, 2])
        # the tip has none; it counts as a part of the base
        is_base = points_N3[:, 2] < -0.999 * self.half_length
        is_base |= self.half_length - points_N3[:, 2] < 1e-4 * self.half_length
        normals_N3[is_base] = 0
        normals_N3[is_base, 2] = np.sign(points_N3[is_base, 2])
        return _unit(normals_N3)


def first_met(solids: Sequence[Solid], rays: Rays) -> tuple[np.ndarray, np.ndarray]:
    """How many times its direction each ray goes until it meets something, and which solid that is, both (N,)."""
    nearest, which = np.full(len(rays), np.inf), np.zeros(len(rays), np.intp)
    for i, solid in enumerate(solids):
        distances = solid.meet(rays)
        nearer = distances < nearest
        nearest[nearer], which[nearer] = distances[nearer], i
    return nearest, which


def is_met(solids: Sequence[Solid], rays: Rays, within: float) -> np.ndarray:
    """Whether each ray meets anything within so many times its direction, (N,)."""
    met = np.zeros(len(rays), bool)
    for solid in solids:
        met |= solid.meet(rays) < within
    return met


def along(start_3: np.ndarray, end_3: np.ndarray) -> np.ndarray:
    """A rotation whose z axis goes from one point to another, (3, 3)."""
    z_3 = _unit(end_3 - start_3)
    x_3 = _unit(np.cross((0.0, 1.0, 0.0) if abs(z_3[1]) < 0.9 else (1.0, 0.0, 0.0), z_3))
    return np.stack([x_3, np.cross(z_3, x_3), z_3], axis=-1)


def _dot(a_ND: np.ndarray, b_ND: np.ndarray) -> np.ndarray:
    """Row by row; either may be one row."""
    total = a_ND[:, 0] * b_ND[:, 0]
    for i in range(1, a_ND.shape[1]):
        total = total + a_ND[:, i] * b_ND[:, i]
    return total


def _unit(vectors_N3: np.ndarray) -> np.ndarray:
    return vectors_N3 / np.linalg.norm(vectors_N3, axis=-1, keepdims=True)


def _meet_ball(origins_ND: np.ndarray, directions_ND: np.ndarray, radius: float) -> np.ndarray:
    """Where rays enter a ball, or a circle, around zero."""
    a, b = _dot(directions_ND, directions_ND), _dot(origins_ND, directions_ND)
    square = b * b - a * (_dot(origins_ND, origins_ND) - radius**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        enter = (-b - np.sqrt(square)) / a
        return np.where((square > 0) & (enter > NEAREST), enter, np.inf)


def _slabs(half_3: np.ndarray, origins_N3: np.ndarray, directions_N3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays enter and leave the box around zero."""
    with np.errstate(divide="ignore"):
        low_N3, high_N3 = (-half_3 - origins_N3) / directions_N3, (half_3 - origins_N3) / directions_N3
    enter, leave = np.minimum(low_N3, high_N3).T, np.maximum(low_N3, high_N3).T
    return np.maximum(np.maximum(*enter[:2]), enter[2]), np.minimum(np.minimum(*leave[:2]), leave[2])


def _face_normals(points_N3: np.ndarray) -> np.ndarray:
    """Of the cube of half a side 1."""
    face = np.abs(points_N3).argmax(-1)[..., None]
    normals_N3 = np.zeros_like(points_N3)
    np.put_along_axis(normals_N3, face, np.sign(np.take_along_axis(points_N3, face, -1)), -1)
    return normals_N3
