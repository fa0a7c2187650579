"""Where the cameras of a rendered world are, frame by frame, and where they see what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosmos_cli.worlds.exact import circle, cross, into, out_of, unit

# F frames; the world's z is up, metres; a camera's x is to the right, y down and z ahead; float64
# u, v: place in the picture in parts of its shorter side, from its middle, to the right and down

_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class View:
    """One camera.

    name: "" where it is the only one.
    eyes_F3: where it is. rotations_F33: its axes, as columns, in the world. Both have F = 1 where it stands still.
    half_height, half_width: of the picture at distance 1.
    """

    name: str
    eyes_F3: np.ndarray
    rotations_F33: np.ndarray
    half_height: float
    half_width: float

    @property
    def is_still(self) -> bool:
        return len(self.eyes_F3) == 1

    @property
    def shorter(self) -> float:
        """The shorter side of the picture at distance 1."""
        return 2 * min(self.half_height, self.half_width)

    def seen_from(self, points_F3: np.ndarray) -> np.ndarray:
        """Points of each frame in the camera's own axes, (F, 3)."""
        return into(self.rotations_F33, points_F3 - self.eyes_F3)

    def track(self, points_F3: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """u, v and distance ahead of points of each frame, each (F,). u and v mean nothing behind the camera."""
        own_F3 = self.seen_from(points_F3)
        ahead_F = own_F3[:, 2]
        scale_F = 1 / (np.where(np.abs(ahead_F) < 1e-9, 1e-9, ahead_F) * self.shorter)
        return own_F3[:, 0] * scale_F, own_F3[:, 1] * scale_F, ahead_F

    def is_in(self, points_F3: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """Whether points of each frame are in the picture, at least `margin` metres from its sides, (F,)."""
        u_F, v_F, ahead_F = self.track(points_F3)
        half_u, half_v = self.half_width / self.shorter, self.half_height / self.shorter
        margin_F = margin / (np.maximum(ahead_F, 0.1) * self.shorter)
        return (ahead_F > 0.1) & (np.abs(u_F) + margin_F <= half_u) & (np.abs(v_F) + margin_F <= half_v)

    def place(self, frame: int, u: float, ahead: float, height: float) -> np.ndarray:
        """The point at that u, distance ahead and height above the floor, (3,).

        The camera must not look straight up or down.
        """
        eye_3, axes_33 = self._at(frame)
        x = u * self.shorter
        y = ((height - eye_3[2]) / ahead - x * axes_33[2, 0] - axes_33[2, 2]) / axes_33[2, 1]
        return eye_3 + ahead * out_of(axes_33, np.array([x, y, 1.0]))

    def axes(self, frame: int) -> np.ndarray:
        return self._at(frame)[1]

    def _at(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        frame = 0 if self.is_still else frame
        return self.eyes_F3[frame], self.rotations_F33[frame]


def half_sides(size: tuple[int, int], shorter: float) -> tuple[float, float]:
    """Half height and width at distance 1 of pictures (height, width) whose shorter side is so large there."""
    height, width = size
    return shorter / 2 * height / min(size), shorter / 2 * width / min(size)


def looking(eyes_F3: np.ndarray, targets_F3: np.ndarray) -> np.ndarray:
    """Axes (F, 3, 3) of cameras that look at points."""
    z_F3 = unit(targets_F3 - eyes_F3)
    x_F3 = unit(cross(z_F3, np.broadcast_to(_UP, z_F3.shape)))
    return np.stack([x_F3, cross(z_F3, x_F3), z_F3], axis=-1)


def heading(turns_F: np.ndarray | float, dip: float) -> np.ndarray:
    """Unit vectors (F, 3) that far to the left of the world's y axis, and `dip` down per metre ahead."""
    cosine_F, sine_F = circle(np.atleast_1d(turns_F))
    return unit(np.stack([-sine_F, cosine_F, np.full_like(cosine_F, -dip)], axis=-1))
