"""What a rendered world is made of: a room, its light, bodies and cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosmos_cli.worlds.bodies import Body
from cosmos_cli.worlds.patterns import Pattern
from cosmos_cli.worlds.views import View
from cosmos_cli.worlds.words import camera_move, describe

# N points; 3 is x, y, z in the world, or red, green, blue

ROOM = (9.0, 9.0, 3.2)
"""Half its sides, in metres; the floor is at height 0 and its middle at x = y = 0."""


@dataclass(frozen=True)
class Surface:
    """A floor or walls. first_3, second_3: colours in 0..1, float32, between which the pattern mixes."""

    pattern: Pattern
    first_3: np.ndarray
    second_3: np.ndarray

    def colours(self, u_N: np.ndarray, v_N: np.ndarray, metres_N: np.ndarray) -> np.ndarray:
        """(3, N); see `Pattern.at`."""
        values_N = self.pattern.at(u_N, v_N, metres_N)
        return self.first_3[:, None] + (self.second_3 - self.first_3)[:, None] * values_N


@dataclass(frozen=True)
class Scene:
    """A clip's world.

    bodies: of different colours. hits: pairs of bodies, of which one bumps into the other.
    move: how the cameras are moved, see `words.camera_move`.
    to_light_3, to_gloss_3: unit vectors towards the light, and towards what is between it and the first camera.
    """

    num_frames: int
    bodies: tuple[Body, ...]
    hits: tuple[tuple[int, int], ...]
    views: tuple[View, ...]
    move: str
    floor: Surface
    walls: Surface
    to_light_3: np.ndarray
    to_gloss_3: np.ndarray

    def caption(self, view: int = 0) -> str:
        """What one camera sees, in plain words."""
        camera = self.views[view]
        move = camera_move(camera, self.move)
        return describe(camera, self.bodies, self.hits, self.floor.pattern.word, move)
