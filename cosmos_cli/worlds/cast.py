"""Drawing worlds by chance, until what happens in them can be seen and named."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cosmos_cli.generation.cameras import CAMERAS
from cosmos_cli.worlds.bodies import COLOURS, SHAPES, SIZES, Body, half_height
from cosmos_cli.worlds.exact import Chance, circle, dot, unit
from cosmos_cli.worlds.patterns import patterns
from cosmos_cli.worlds.scene import ROOM, Scene, Surface
from cosmos_cli.worlds.views import View, half_sides, heading, looking
from cosmos_cli.worlds.words import WAYS, apart, is_shown, overlap, way

# F frames; u and ahead as in `views`; metres

Split = Literal["train", "held-out"]
SPLITS: tuple[Split, Split] = ("train", "held-out")

_SHORTER = 0.84
"""Of a single camera's picture, at distance 1."""
_RIG_HALF_WIDTH = 0.7
_TURNS = {"front": 0, "left": 60, "rear left": 120, "rear": 180, "rear right": 240, "right": 300}
"""Degrees to the left in which the cameras of a rig look."""
_MARGIN = 0.08
MAX_BODIES, _MAX_IN_RIG = 4, 6
"""Of one camera's world, and of a rig's."""
_TRIES, _SCENES = 24, 200
"""How often a body and a scene are drawn before that is given up."""
_NEAR, _FAR = 4.2, 7.2


def draw(
    seed: int, size: tuple[int, int], num_frames: int, *, split: Split = "train", num_views: int = 1, world: int = 0
) -> Scene:
    """A world by number. The same numbers give the same world; those of one split never are those of the other.

    Args:
        size: height and width of the pictures, of which their shape counts.
        num_views: 1 for a camera that sees the middle of the room, more for that many of six on a rig in it.
        world: which series of worlds the seed counts in.
    Raises:
        ValueError: the pictures are so narrow or so low that hardly anything fits into them.
    """
    # the split is a number of its own, so that no seed of one gives the draws of another
    chance = Chance(SPLITS.index(split), world, seed, num_frames, num_views)
    for _ in range(_SCENES):
        scene = _drawn(chance, size, num_frames, num_views)
        if scene is not None:
            return scene
    raise ValueError(f"nothing that moves fits into pictures of {size[0]} x {size[1]}")


def _drawn(chance: Chance, size: tuple[int, int], num_frames: int, num_views: int) -> Scene | None:
    views, move = _one_camera(chance, size, num_frames) if num_views == 1 else _rig(chance, size, num_frames, num_views)
    troupe = _Troupe(chance, views, num_frames, chance.some_of(list(COLOURS), _MAX_IN_RIG))
    wanted = 1 + int(chance.share() * MAX_BODIES) if num_views == 1 else _MAX_IN_RIG
    if not troupe.add_first(may_bump=not move and wanted > 1 and num_frames > 4):
        return None
    while len(troupe.bodies) < wanted and troupe.add():
        pass
    bodies = troupe.bodies
    if num_views == 1 and not all(is_shown(views[0], body, bodies) for body in bodies):
        return None
    to_light_3 = unit(np.array([chance.between(-0.45, 0.45), chance.between(-0.55, -0.15), 0.85]))
    # halfway between the light and the eye, if that were far away
    to_gloss_3 = unit(to_light_3 + np.array([0.0, -0.95, 0.3]))
    floor, walls = (_surface(chance, low, high) for low, high in ((0.36, 0.62), (0.58, 0.82)))
    return Scene(num_frames, tuple(bodies), tuple(troupe.hits), views, move, floor, walls, to_light_3, to_gloss_3)


def _surface(chance: Chance, low: float, high: float) -> Surface:
    """In two muted colours, from which those of the bodies stand out."""
    tone = chance.between(low, high) + chance.shares(3) * 0.16 - 0.08
    step = chance.sign() * chance.between(0.07, 0.15) + chance.shares(3) * 0.04
    return Surface(chance.one_of(patterns()), tone.astype(np.float32), (tone + step).clip(0.1, 0.95).astype(np.float32))


def _one_camera(chance: Chance, size: tuple[int, int], num_frames: int) -> tuple[tuple[View, ...], str]:
    move = chance.one_of(("", "", "", "pan", "orbit", "travel")) if num_frames > 1 else ""
    share_F = np.arange(num_frames) / max(num_frames - 1, 1) - 0.5 if move else np.zeros(1)
    amount = chance.sign() * chance.between(0.7, 1.0) * _liveliness(num_frames)
    height, distance = chance.between(1.5, 2.6), chance.between(5.2, 6.2)
    turn_F = share_F * 0.09 * amount if move == "orbit" else 0 * share_F
    far_F = distance - share_F * (1.6 * amount if move == "travel" else 0)
    cosine_F, sine_F = circle(turn_F)
    eyes_F3 = np.stack([-sine_F * far_F, -cosine_F * far_F, np.full_like(far_F, height)], axis=-1)
    ahead_F3 = heading(-turn_F + (share_F * 0.05 * amount if move == "pan" else 0), 0)
    targets_F3 = eyes_F3 + distance * ahead_F3
    targets_F3[:, 2] = 0.75
    half_height, half_width = half_sides(size, _SHORTER)
    return (View("", eyes_F3, looking(eyes_F3, targets_F3), half_height, half_width),), move


def _rig(chance: Chance, size: tuple[int, int], num_frames: int, num_views: int) -> tuple[tuple[View, ...], str]:
    """Cameras on a rig in the middle of the room that together see all around; it may go ahead."""
    move = chance.one_of(("", "travel")) if num_frames > 1 else ""
    share_F = np.arange(num_frames) / max(num_frames - 1, 1) - 0.5 if move else np.zeros(1)
    way_F = share_F * chance.between(0.8, 1.4) * _liveliness(num_frames)
    eyes_F3 = np.stack([0 * way_F, way_F, np.full_like(way_F, 1.5)], axis=-1)
    half = _RIG_HALF_WIDTH
    views = []
    for camera in CAMERAS[:num_views]:
        ahead_F3 = heading(np.full_like(way_F, _TURNS[camera.name] / 360), 0.14)
        axes_F33 = looking(eyes_F3, eyes_F3 + ahead_F3)
        views.append(View(camera.name, eyes_F3, axes_F33, half * size[0] / size[1], half))
    return tuple(views), move


def _liveliness(num_frames: int) -> float:
    """How much may happen in a clip: less in a very short one, so that nothing jumps."""
    return min(1.0, max(0.4, (num_frames - 1) / 8))


@dataclass
class _Troupe:
    """The bodies of a scene while they are drawn."""

    chance: Chance
    views: tuple[View, ...]
    num_frames: int
    colours: list[str]

    def __post_init__(self) -> None:
        self.bodies: list[Body] = []
        # each camera sees something before any is given a second body
        self._order = self.chance.some_of(self.views, len(self.views))
        self.hits: list[tuple[int, int]] = []
        self._share_F = np.arange(self.num_frames) / max(self.num_frames - 1, 1)

    def add_first(self, *, may_bump: bool) -> bool:
        """Two of which one bumps into the other, or one that moves, perhaps past another. Whether they were found."""
        if self.num_frames == 1:
            return self.add()
        if may_bump and self.chance.share() < 0.2:
            return self._add_bump()
        if not self._tried(lambda: self._moving(self._order[0], self.chance.one_of(WAYS))):
            return False
        view, mover = self.views[0], self.bodies[0]
        if len(self.views) == 1 and way(view, mover.path_F3) in ("left", "right") and self.chance.share() < 0.6:
            self._tried(lambda: self._in_its_way(view, mover))
        return True

    def add(self) -> bool:
        """One more that moves or stands. Whether a place was found."""
        view = self._order[len(self.bodies) % len(self._order)]
        if self.num_frames > 1 and self.chance.share() < 0.4:
            return self._tried(lambda: self._moving(view, self.chance.one_of(WAYS)))
        return self._tried(lambda: self._standing(view))

    def _tried(self, make: Callable[[], Body | None]) -> bool:
        for _ in range(_TRIES):
            body = make()
            if body is not None and self._fits(body):
                self.bodies.append(body)
                return True
        return False

    def _fits(self, body: Body) -> bool:
        half = np.array(ROOM) - body.girth
        inside = (np.abs(body.path_F3[:, :2]) < half[:2]).all() and body.path_F3[:, 2].min() > body.half_height - 1e-3
        return bool(inside) and all(apart(body, other) for other in self.bodies)

    def _looks(self) -> tuple[str, str, str, float]:
        chance = self.chance
        shape, size = chance.one_of(SHAPES), chance.one_of(list(SIZES))
        yaw = 0.0 if shape == "ball" else chance.between(0, 0.25)
        return shape, self.colours[len(self.bodies)], size, yaw

    def _path(self, start_3: np.ndarray, end_3: np.ndarray) -> np.ndarray:
        return start_3 + (end_3 - start_3) * self._share_F[:, None]

    def _u(self, view: View, margin: float) -> float:
        half = view.half_width / view.shorter - margin
        return self.chance.between(-half, half)

    def _standing(self, view: View, u: float | None = None, ahead: float | None = None) -> Body | None:
        shape, colour, size, yaw = self._looks()
        u = self._u(view, _MARGIN) if u is None else u
        ahead = self.chance.between(_NEAR, _FAR) if ahead is None else ahead
        point_3 = view.place(self.num_frames // 2, u, ahead, half_height(shape, size))
        body = Body(shape, colour, size, yaw, self._path(point_3, point_3))
        return body if view.is_in(body.path_F3, 0.8 * body.girth).all() else None

    def _in_its_way(self, view: View, mover: Body) -> Body | None:
        u_F, _, ahead_F = view.track(mover.path_F3)
        frame = int(self.chance.between(0.35, 0.65) * self.num_frames)
        ahead = ahead_F[frame] + self.chance.sign() * self.chance.between(1.3, 2.4)
        body = self._standing(view, u_F[frame], ahead) if 3.2 < ahead < 9 else None
        return body if body is not None and overlap(view, mover, body).max() > 0.4 else None

    def _moving(self, view: View, where: str) -> Body | None:
        """One that moves that way in the picture of a camera, or nothing where chance gives no such path."""
        shape, colour, size, yaw = self._looks()
        chance, lively, last = self.chance, _liveliness(self.num_frames), self.num_frames - 1
        rest, middle = half_height(shape, size), self.num_frames // 2
        ahead = chance.between(_NEAR, _FAR)
        if where in ("left", "right"):
            step = chance.between(0.35, 0.7) * lively * (1 if where == "right" else -1)
            u = self._u(view, _MARGIN + abs(step) / 2)
            # where the camera itself goes ahead, the body keeps its distance from the wall, not from the camera
            eyes_F3 = np.broadcast_to(view.eyes_F3, (self.num_frames, 3))
            gained = float(dot(eyes_F3[-1] - eyes_F3[0], view.axes(middle)[:, 2]))
            start_3 = view.place(0, u - step / 2, ahead + gained / 2, rest)
            end_3 = view.place(last, u + step / 2, ahead - gained / 2, rest)
        elif where in ("up", "down"):
            u, rise = self._u(view, _MARGIN), chance.between(0.25, 0.45) * lively * view.shorter * ahead
            low = rest + chance.between(0, 0.5)
            heights = (low, low + rise) if where == "up" else (low + rise, low)
            start_3, end_3 = (view.place(middle, u, ahead, height) for height in heights)
        else:
            u, ratio = self._u(view, _MARGIN), 1 - (1 - chance.between(0.55, 0.72)) * lively
            far = min(ahead / math.sqrt(ratio), 8.6)
            distances = (far, far * ratio) if where == "towards" else (far * ratio, far)
            start_3, end_3 = (view.place(middle, u, distance, rest) for distance in distances)
        body = Body(shape, colour, size, yaw, self._path(start_3, end_3))
        named = way(view, body.path_F3) == where
        return body if named and view.is_in(body.path_F3, 0.8 * body.girth).all() else None

    def _add_bump(self) -> bool:
        """One body slides into another of its size, and stops; the other goes on."""
        for _ in range(_TRIES):
            pair = self._bump()
            if pair is not None:
                self.bodies += pair
                self.hits.append((0, 1))
                return True
        return False

    def _bump(self) -> list[Body] | None:
        chance, view, middle = self.chance, self.views[0], self.num_frames // 2
        size, sign = chance.one_of(list(SIZES)), chance.sign()
        shapes = [chance.one_of([shape for shape in SHAPES if shape != "cone"]) for _ in range(2)]
        ahead = chance.between(_NEAR, 6.5)
        # they touch in a frame, not between two
        contact = self._share_F[int(chance.between(0.45, 0.6) * (self.num_frames - 1))]
        step = chance.between(0.3, 0.45) * _liveliness(self.num_frames) * view.shorter * ahead * sign
        across_3 = view.axes(middle)[:, 0]
        gap = sum(SIZES[size] * _HALF_WIDTHS[shape] for shape in shapes) * sign
        point_3 = view.place(middle, self._u(view, 0.3), ahead, 0.0)
        before_F, after_F = np.minimum(self._share_F / contact, 1), np.maximum(self._share_F / contact, 1) - 1
        places = (before_F - 1) * step, after_F * step + gap
        up_3 = np.array([0.0, 0.0, 1.0])
        bodies = [
            Body(
                shape,
                self.colours[i],
                size,
                0.0,
                point_3 + places[i][:, None] * across_3 + half_height(shape, size) * up_3,
            )
            for i, shape in enumerate(shapes)
        ]
        name = "right" if sign > 0 else "left"
        fine = all(self._fits(body) and view.is_in(body.path_F3, 0.8 * body.girth).all() for body in bodies)
        return bodies if fine and all(way(view, body.path_F3) == name for body in bodies) else None


_HALF_WIDTHS = {"cube": 0.8, "ball": 1.0, "cylinder": 0.74, "pill": 0.56}
"""Along a cube's side, as parts of a ball's."""
