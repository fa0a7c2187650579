"""The picture, the depth and the labels of a rendered world, by rays.

A ray goes through the centre of every pixel, and only through the box around a body is it asked whether it meets it.
Pixels at the rim of a surface are painted by four rays more, so that rims are smooth; depth and labels are those of
the centre.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cosmos_cli.worlds.bodies import COLOURS, Body
from cosmos_cli.worlds.exact import into, product
from cosmos_cli.worlds.scene import ROOM, Scene
from cosmos_cli.worlds.solids import Box, Capsule, Ellipsoid
from cosmos_cli.worlds.views import View

# F frames; P poses of a camera, F or 1; H and W pixel height and width; N rays; colours are (3, N) float32 in 0..1

_SPREAD = ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125))
"""Rays of a rim's pixel: y and x from its centre, in pixels."""
_FLOOR, _CEILING = 2, 3
"""Surfaces of the room; 0 and 1, 4 and 5 are walls."""
_FIRST_BODY, _SURFACES = 8, 8


@dataclass(frozen=True)
class Rendered:
    """What a camera sees.

    rgb_FHW3: uint8. depth_FHW: float32, along the camera's z, metres. labels_FHW: uint8, 0 the room, else 1 + body.
    """

    rgb_FHW3: np.ndarray
    depth_FHW: np.ndarray
    labels_FHW: np.ndarray


def render(scene: Scene, size: tuple[int, int], view: int = 0) -> Rendered:
    """What one camera sees, in pictures (height, width) of the shape that the scene was drawn for."""
    camera, shape = scene.views[view], (scene.num_frames, *size)
    rays = _through_centres(camera, scene.num_frames, size)
    room = _room_with_shadows(scene, camera, rays, size)
    seen = _with_bodies(scene, camera, rays, room.copy())
    rims_M = _rims(np.where(seen.label_N > 0, seen.surface_N, 0).reshape(shape))
    if rims_M.size:
        # the room hardly changes within a pixel: what is behind the rim is what is there at its centre
        around = _with_bodies(scene, camera, _around(rays, rims_M), room.at(np.tile(rims_M, len(_SPREAD))))
        seen.colour_3N[:, rims_M] = _mean(around.colour_3N)
    rgb_3N = (seen.colour_3N.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    rgb_FHW3 = np.ascontiguousarray(rgb_3N.T).reshape(*shape, 3)
    return Rendered(rgb_FHW3, seen.depth_N.reshape(shape), seen.label_N.reshape(shape))


@dataclass(frozen=True)
class _Rays:
    """Rays of a camera: x and y at distance 1, and each one's frame.

    within: indices of the rays in boxes (4, F): left, right, upper, lower in x and y.
    pixel: between two rays of a row, at distance 1.
    num_shared: of the first rays, whose room all frames share; 0 shares none.
    """

    x_N: np.ndarray
    y_N: np.ndarray
    frame_N: np.ndarray
    within: Callable[[np.ndarray], np.ndarray]
    pixel: float
    num_shared: int = 0


@dataclass
class _Seen:
    """What each ray meets; surfaces are numbered so that two which meet at an edge differ."""

    colour_3N: np.ndarray
    depth_N: np.ndarray
    label_N: np.ndarray
    surface_N: np.ndarray

    def copy(self) -> _Seen:
        return _Seen(self.colour_3N.copy(), self.depth_N.copy(), self.label_N.copy(), self.surface_N.copy())

    def at(self, index_M: np.ndarray) -> _Seen:
        return _Seen(self.colour_3N[:, index_M], self.depth_N[index_M], self.label_N[index_M], self.surface_N[index_M])


def _mean(colour_3N: np.ndarray) -> np.ndarray:
    """Of the rays around each pixel."""
    return colour_3N.reshape(3, len(_SPREAD), -1).sum(1) * np.float32(1 / len(_SPREAD))


def _through_centres(camera: View, num_frames: int, size: tuple[int, int]) -> _Rays:
    height, width = size
    pixel = camera.shorter / min(size)
    x_W = ((np.arange(width) + 0.5 - width / 2) * pixel).astype(np.float32)
    y_H = ((np.arange(height) + 0.5 - height / 2) * pixel).astype(np.float32)

    def within(boxes_4F: np.ndarray) -> np.ndarray:
        left_F, upper_F = (np.searchsorted(at, low_F) for at, low_F in ((x_W, boxes_4F[0]), (y_H, boxes_4F[2])))
        right_F, lower_F = (
            np.searchsorted(at, high_F, side="right") for at, high_F in ((x_W, boxes_4F[1]), (y_H, boxes_4F[3]))
        )
        # a run of pixels for every row of every box
        num_rows_F = np.maximum(lower_F - upper_F, 0)
        first_F = np.arange(num_frames) * (height * width) + upper_F * width + left_F
        first_R = first_F.repeat(num_rows_F) + _counts(num_rows_F) * width
        length_R = np.maximum(right_F - left_F, 0).repeat(num_rows_F)
        return first_R.repeat(length_R) + _counts(length_R)

    shape = (num_frames, height, width)
    x_N, y_N = (np.broadcast_to(each, shape).reshape(-1) for each in (x_W, y_H[:, None]))
    frame_N = np.arange(num_frames).repeat(height * width)
    return _Rays(x_N, y_N, frame_N, within, pixel, height * width if camera.is_still else 0)


def _counts(lengths_K: np.ndarray) -> np.ndarray:
    """0, 1, 2 ... for each length, one after the other."""
    ends_K = lengths_K.cumsum()
    return np.arange(ends_K[-1] if len(ends_K) else 0) - (ends_K - lengths_K).repeat(lengths_K)


def _around(rays: _Rays, which_M: np.ndarray) -> _Rays:
    """Several rays for each of some."""
    x_M, y_M = rays.x_N[which_M], rays.y_N[which_M]
    x_N = np.concatenate([x_M + np.float32(x * rays.pixel) for _, x in _SPREAD])
    y_N = np.concatenate([y_M + np.float32(y * rays.pixel) for y, _ in _SPREAD])
    frame_N = np.tile(rays.frame_N[which_M], len(_SPREAD))

    def within(boxes_4F: np.ndarray) -> np.ndarray:
        left, right, upper, lower = boxes_4F.astype(np.float32)[:, rays.frame_N[which_M]]
        wider = np.float32(rays.pixel)
        is_across_M = (x_M >= left - wider) & (x_M <= right + wider)
        inside = np.flatnonzero(is_across_M & (y_M >= upper - wider) & (y_M <= lower + wider))
        return (np.arange(len(_SPREAD))[:, None] * len(which_M) + inside).reshape(-1)

    return _Rays(x_N, y_N, frame_N, within, rays.pixel)


def _rims(surface_FHW: np.ndarray) -> np.ndarray:
    """Indices of pixels beside which another surface is seen."""
    beside = surface_FHW[:, :, 1:] != surface_FHW[:, :, :-1]
    below = surface_FHW[:, 1:] != surface_FHW[:, :-1]
    rim_FHW = np.zeros(surface_FHW.shape, bool)
    rim_FHW[:, :, 1:] |= beside
    rim_FHW[:, :, :-1] |= beside
    rim_FHW[:, 1:] |= below
    rim_FHW[:, :-1] |= below
    return np.flatnonzero(rim_FHW)


def _with_bodies(scene: Scene, camera: View, rays: _Rays, seen: _Seen) -> _Seen:
    """Add the bodies to what is seen of the room, in place."""
    met = [_meet(body, i, camera, rays, seen) for i, body in enumerate(scene.bodies)]
    for i, (body, (index_M, points_M3)) in enumerate(zip(scene.bodies, met, strict=True)):
        open_M = seen.label_N[index_M] == i + 1
        _paint(scene, body, i, rays, index_M[open_M], points_M3[open_M], seen)
    return seen


def _per_ray(values_P: np.ndarray, frame_N: np.ndarray) -> list[np.ndarray]:
    """Numbers of each pose (P, K), as K arrays of each ray's, float32; single numbers where there is one pose."""
    values_P = values_P.reshape(len(values_P), -1).astype(np.float32)
    return list(values_P[0]) if len(values_P) == 1 else [each_P[frame_N] for each_P in values_P.T]


def _room_with_shadows(scene: Scene, camera: View, rays: _Rays, size: tuple[int, int]) -> _Seen:
    """The room in every frame. A camera that stands still sees it once; the shadows are those of the frames."""
    first = slice(rays.num_shared or None)
    own = replace(rays, x_N=rays.x_N[first], y_N=rays.y_N[first], frame_N=rays.frame_N[first])
    once, points = _room(scene, camera, own)
    seams_M = _rims(once.surface_N.reshape(-1, *size))
    if seams_M.size:
        once.colour_3N[:, seams_M] = _mean(_room(scene, camera, _around(own, seams_M))[0].colour_3N)
    seen = once.at(np.tile(np.arange(rays.num_shared), scene.num_frames)) if rays.num_shared else once
    for body in scene.bodies:
        _shade(scene, body, camera, rays, points, seen)
    return seen


def _room(scene: Scene, camera: View, rays: _Rays) -> tuple[_Seen, list[np.ndarray]]:
    """The room without shadows, and where rays meet it: x, y and z in the world."""
    x_N, y_N, frame_N = rays.x_N, rays.y_N, rays.frame_N
    axes = _per_ray(camera.rotations_F33, frame_N)
    ways = [axes[3 * i] * x_N + axes[3 * i + 1] * y_N + axes[3 * i + 2] for i in range(3)]
    eyes = _per_ray(camera.eyes_F3, frame_N)
    # the eye's height is from the floor, the other two from the middle
    ends = [np.copysign(np.float32(half), each) for half, each in zip(ROOM, ways, strict=True)]
    ends[2] += np.float32(ROOM[2])
    with np.errstate(divide="ignore"):
        x_t, y_t, z_t = ((end - eye) / each for end, eye, each in zip(ends, eyes, ways, strict=True))
    depth_N = np.minimum(np.minimum(x_t, y_t), z_t)
    points = [eye + depth_N * each for eye, each in zip(eyes, ways, strict=True)]
    is_level_N, is_down_N = depth_N == z_t, ways[2] < 0
    surface_N = np.full(len(depth_N), _CEILING, np.uint8)
    colour_3N = np.empty((3, len(depth_N)), np.float32)
    half = np.float32(ROOM[0] + 0.01)

    def metres(which_M: np.ndarray, steep_M: np.ndarray) -> np.ndarray:
        return depth_N[which_M] * np.float32(rays.pixel) / np.sqrt(np.maximum(np.abs(steep_M), np.float32(1e-3)))

    floor = np.flatnonzero(is_level_N & is_down_N)
    surface_N[floor] = _FLOOR
    x_M, y_M = points[0][floor], points[1][floor]
    light_M = np.float32(1.06) - (x_M * x_M + y_M * y_M) * np.float32(0.35 / ROOM[0] ** 2)
    colour_3N[:, floor] = scene.floor.colours(x_M + half, y_M + half, metres(floor, ways[2][floor])) * light_M
    wall = np.flatnonzero(~is_level_N)
    is_x_M = x_t[wall] < y_t[wall]
    steep_M = np.where(is_x_M, ways[0][wall], ways[1][wall])
    surface_N[wall] = np.where(is_x_M, 0, 4) + (steep_M < 0)
    along_M = np.where(is_x_M, points[1][wall], points[0][wall])
    height_M = points[2][wall]
    light_M = _WALL_LIGHT[surface_N[wall]] * (np.float32(0.72) + height_M * np.float32(0.36 / (2 * ROOM[2])))
    covered_M = metres(wall, steep_M)
    colour_3N[:, wall] = scene.walls.colours(along_M + half, height_M + np.float32(0.01), covered_M) * light_M
    ceiling = np.flatnonzero(is_level_N & ~is_down_N)
    colour_3N[:, ceiling] = scene.walls.first_3[:, None] * np.float32(1.05)
    return _Seen(colour_3N, depth_N, np.zeros(len(depth_N), np.uint8), surface_N), points


_WALL_LIGHT = np.array([0.92, 0.84, 1, 1, 1.0, 0.8], np.float32)


def _shade(scene: Scene, body: Body, camera: View, rays: _Rays, points: list[np.ndarray], seen: _Seen) -> None:
    """Darken the floor where a body is between it and the light: softly, as if it were an ellipsoid."""
    to_light_3 = scene.to_light_3
    width, height = 1.1 * body.girth, body.half_height
    below_F3 = body.path_F3 - body.path_F3[:, 2:] / to_light_3[2] * to_light_3
    reach = 1.5 * max(width, height) / to_light_3[2]
    index_M = rays.within(_boxes(camera.seen_from(below_F3), reach))
    index_M = index_M[seen.surface_N[index_M] == _FLOOR]
    if not index_M.size:
        return
    place_M = index_M % rays.num_shared if rays.num_shared else index_M
    x, y, z = _per_ray(body.path_F3 / (width, width, height), rays.frame_N[index_M])
    light = to_light_3 / (width, width, height)
    light /= np.sqrt((light * light).sum())
    right_M, back_M = points[0][place_M] * np.float32(1 / width) - x, points[1][place_M] * np.float32(1 / width) - y
    along_M = right_M * np.float32(light[0]) + back_M * np.float32(light[1]) - z * np.float32(light[2])
    away_M = right_M * right_M + back_M * back_M + z * z - along_M * along_M
    # a body high above the floor casts a wider and paler shadow
    blur = np.float32(0.35) + np.float32(0.15) * (z - 1)
    dark_M = ((1 + blur - away_M) / (2 * blur)).clip(0, 1)
    dark_M *= dark_M * (3 - 2 * dark_M) * (np.float32(0.5) / (1 + np.float32(0.12) * (z - 1)))
    seen.colour_3N[:, index_M] *= 1 - dark_M


def _boxes(centres_F3: np.ndarray, reach: float) -> np.ndarray:
    """Around balls, given in a camera's axes, at distance 1: left, right, upper and lower, (4, F)."""
    x_F, y_F, ahead_F = centres_F3.T
    square_F = ahead_F * ahead_F - reach * reach
    is_ahead_F = ahead_F > 1.05 * reach
    square_F = np.where(is_ahead_F, square_F, 1)
    sides = []
    for across_F in (x_F, y_F):
        half_F = reach * np.sqrt(np.maximum(across_F * across_F + square_F, 0))
        sides += [(across_F * ahead_F - half_F) / square_F, (across_F * ahead_F + half_F) / square_F]
    boxes_4F = np.stack(sides)
    # the eye is within or beside it: anywhere; it is behind the eye: nowhere
    wide = np.array([-np.inf, np.inf, -np.inf, np.inf])[:, None]
    boxes_4F = np.where(is_ahead_F, boxes_4F, wide)
    return np.where(ahead_F < -reach, -wide, boxes_4F)


def _meet(body: Body, which: int, camera: View, rays: _Rays, seen: _Seen) -> tuple[np.ndarray, np.ndarray]:
    """Write where a body is before what is seen so far; the rays that met it then, and where, in its own axes."""
    solid = body.solid
    index_M = rays.within(_boxes(camera.seen_from(body.path_F3), solid.reach * 1.001))
    frame_M = rays.frame_N[index_M]
    turn = _per_ray(product(body.rotations_F33.swapaxes(-1, -2), camera.rotations_F33), frame_M)
    x_M, y_M = rays.x_N[index_M], rays.y_N[index_M]
    # coordinate by coordinate in memory, which is how solids read them
    ways_M3 = np.stack([turn[3 * i] * x_M + turn[3 * i + 1] * y_M + turn[3 * i + 2] for i in range(3)]).T
    eyes_F3 = into(body.rotations_F33, camera.eyes_F3 - body.path_F3)
    eyes_M3 = eyes_F3.astype(np.float32).T[:, frame_M].T
    depth_M = solid.meet_own(eyes_M3, ways_M3)
    nearer = np.flatnonzero(depth_M < seen.depth_N[index_M])
    index_M, depth_M = index_M[nearer], depth_M[nearer]
    seen.depth_N[index_M], seen.label_N[index_M] = depth_M, which + 1
    points_3M = eyes_M3.T[:, nearer] + depth_M * ways_M3.T[:, nearer]
    return index_M, points_3M.T


def _paint(
    scene: Scene, body: Body, which: int, rays: _Rays, index_M: np.ndarray, points_M3: np.ndarray, seen: _Seen
) -> None:
    """Colour what is seen of a body, at points in its own axes."""
    frame_M, turns_F33 = rays.frame_N[index_M], body.rotations_F33
    normals = body.solid.own_normals(points_M3).T

    def along(direction_3: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        x, y, z = _per_ray(into(turns_F33, np.broadcast_to(direction_3, (len(turns_F33), 3))), frame_M)
        return vectors[0] * x + vectors[1] * y + vectors[2] * z

    facing_M = along(scene.to_light_3, normals).clip(0)
    up_M = along(np.array([0.0, 0.0, 1.0]), normals)
    height_M = along(np.array([0.0, 0.0, 1.0]), points_M3.T) + body.path_F3[:, 2].astype(np.float32)[frame_M]
    shine_M = along(scene.to_gloss_3, normals).clip(0)
    for _ in range(5):
        shine_M = shine_M * shine_M
    light_M = np.float32(0.5) + np.float32(0.14) * up_M + np.float32(0.52) * facing_M
    # the floor takes light away from what is just above it
    light_M *= np.float32(0.72) + np.float32(0.28) * np.minimum(height_M * np.float32(1.6), 1)
    light_M *= np.float32(0.9) + np.float32(0.16) * _marks(points_M3, body)
    colour_3 = (np.array(COLOURS[body.colour]) / 255).astype(np.float32)
    seen.colour_3N[:, index_M] = colour_3[:, None] * light_M + np.float32(0.3) * shine_M
    seen.surface_N[index_M] = _FIRST_BODY + _SURFACES * which + _faces(body, normals)


def _marks(points_M3: np.ndarray, body: Body) -> np.ndarray:
    """0 or 1 in bands about a body's own axis: that one sees it roll."""
    bands = points_M3[:, 0] if body.shape == "ball" else points_M3[:, 2]
    place_M = bands * np.float32(2.5 / body.half_height) + np.float32(8.5)
    return place_M.astype(np.int32) & 1


def _faces(body: Body, normals: np.ndarray) -> np.ndarray | int:
    """A number for each face of a body, below 8."""
    match body.solid:
        case Ellipsoid() | Capsule():
            return 0
        case Box():
            return (normals[0] + 2 * normals[1] + 3 * normals[2] + np.float32(3.5)).astype(np.uint8)
        case _:
            return (np.abs(normals[2]) > np.float32(0.999)).astype(np.uint8)
