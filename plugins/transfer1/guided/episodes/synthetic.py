"""A small synthetic episode: a robot arm scans a phantom on a table, seen by a room and by a wrist camera."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, pi, sin, sqrt

import numpy as np

from cosmos_cli.worlds.solids import (
    Box,
    Capsule,
    Ellipsoid,
    Paint,
    Rays,
    Room,
    Solid,
    along,
    first_met,
    is_met,
)
from cosmos_plugins.transfer1.guided.views import LABELS, Cameras, Seen
from cosmos_plugins.transfer1.guided.warp.geometry import rotations

# F frames, H and W pixel height and width, N points; the world's z is up, metres

UP = np.array([0.0, 0.0, 1.0])
UNTURNED = np.eye(3)
TABLE_HEIGHT = 0.74
TO_LIGHT = np.array([0.35, -0.45, 0.82])
ROOM_VIEW_WIDTH, WRIST_VIEW_WIDTH = 0.95, 1.45
"""Width of what a camera sees, as a part of the distance."""
UPPER_ARM, FOREARM, TOOL = 0.40, 0.42, 0.20
"""Lengths of the robot's parts."""


@dataclass(frozen=True)
class Moment:
    """All solids and both cameras in one frame.

    still: the room, the table and the phantom. robot: the arm with its tool.
    """

    still: list[Solid]
    robot: list[Solid]
    room: Cameras
    wrist: Cameras

    @property
    def solids(self) -> list[Solid]:
        return [*self.still, *self.robot]


def render(num_frames: int, size: int | tuple[int, int] = 224, seed: int = 0) -> Iterator[tuple[Seen, Seen]]:
    """What the room and the wrist camera see, one frame after the other.

    Depth, labels and poses are exact, and a surface has one colour from wherever it is seen.

    Args:
        size: height and width of both views, or one number for square ones.
        seed: chooses the colours of the room, the phantom's build and the robot's path.
    """
    height, width = (size, size) if isinstance(size, int) else size
    for moment in moments(num_frames, (height, width), seed):
        yield see(moment, moment.room, height, width), see(moment, moment.wrist, height, width)


def moments(num_frames: int, size: tuple[int, int], seed: int = 0) -> Iterator[Moment]:
    """The scene of every frame. Cameras are those of views of a size (height, width)."""
    random = np.random.default_rng(seed)
    still = _room(random) + _table(random) + _phantom(random)
    phase, sway = random.uniform(0, 2 * pi, 2)
    for frame in range(num_frames):
        # one sweep to and fro takes 120 frames, whatever the episode's length
        turn = 2 * pi * frame / 120
        tip_3 = np.array([0.10 + 0.20 * cos(turn + phase), 0.10 * sin(2 * turn + phase), TABLE_HEIGHT + 0.27])
        tilt_3 = np.array([0.25 * sin(turn + phase), 0.20 * cos(turn + sway), -1.0])
        robot, wrist = _robot(tip_3, tilt_3, size)
        eye_3 = np.array([1.28 + 0.04 * sin(turn + sway), -1.02 + 0.04 * cos(turn + sway), TABLE_HEIGHT + 0.98])
        room = _camera(eye_3, np.array([0.02, 0.02, TABLE_HEIGHT + 0.08]), UP, ROOM_VIEW_WIDTH, size)
        yield Moment(still, robot, room, wrist)


def _room(random: np.random.Generator) -> list[Solid]:
    wall, stripe = 0.62 + 0.25 * random.random(3), 0.30 + 0.3 * random.random(3)
    half = np.array([2.2, 2.2, 1.4])

    def walls(points_N3: np.ndarray) -> np.ndarray:
        waves_N1 = 0.04 * (np.sin(5 * points_N3[..., :1]) + np.sin(4 * points_N3[..., 1:2] + points_N3[..., 2:]))
        low_N1 = np.clip((-0.35 - points_N3[..., 2:]) / 0.06, 0, 1)
        return wall * (1 - low_N1) + stripe * low_N1 + waves_N1

    def tiles(points_N3: np.ndarray) -> np.ndarray:
        check_N1 = np.tanh(4 * np.sin(points_N3[..., :1] * pi / 0.5) * np.sin(points_N3[..., 1:2] * pi / 0.5))
        return np.array([0.56, 0.57, 0.60]) + 0.10 * check_N1

    def cabinet(points_N3: np.ndarray) -> np.ndarray:
        return stripe[::-1] * (0.9 + 0.12 * np.tanh(8 * np.sin(points_N3[..., 2:] * pi / 0.28)))

    shell = Room(LABELS["unlabelled"], walls, UNTURNED, np.array([0.0, 0.0, half[2]]), half)
    # the lowest face of the room, as a thin slab, for it has a label of its own
    ground = Box(LABELS["ground"], tiles, UNTURNED, np.array([0.0, 0.0, -0.05]), np.array([2.2, 2.2, 0.05 + 1e-6]))
    drawers = Box(0, cabinet, UNTURNED, np.array([-0.9, 1.75, 0.45]), np.array([0.55, 0.3, 0.45]))
    return [shell, ground, drawers]


def _table(random: np.random.Generator) -> list[Solid]:
    wood = np.array([0.62, 0.45, 0.30]) + random.uniform(-0.08, 0.08, 3)
    start = random.uniform(0, 10, 3)

    def grain(points_N3: np.ndarray) -> np.ndarray:
        x, y = points_N3[..., :1], points_N3[..., 1:2]
        rings = np.sin(70 * y + 2.0 * np.sin(6 * x + start[0]) + start[1])
        boards = np.tanh(6 * np.sin(y * pi / 0.2)) * np.tanh(6 * np.sin(x * pi / 0.42 + start[2]))
        return wood * (1 + 0.11 * rings + 0.09 * boards + 0.08 * np.sin(9 * x + 5 * y))

    top = Box(
        LABELS["table"], grain, UNTURNED, np.array([0.05, 0.0, TABLE_HEIGHT - 0.025]), np.array([0.85, 0.5, 0.025])
    )
    legs: list[Solid] = [
        Box(LABELS["table"], _plain(wood * 0.6), UNTURNED, np.array([x, y, 0.35]), np.array([0.03, 0.03, 0.35]))
        for x in (-0.72, 0.82)
        for y in (-0.42, 0.42)
    ]
    return [top, *legs]


def _phantom(random: np.random.Generator) -> list[Solid]:
    skin = np.array([0.86, 0.66, 0.55]) + random.uniform(-0.06, 0.04, 3)
    girth = random.uniform(0.9, 1.1)

    def tissue(points_N3: np.ndarray) -> np.ndarray:
        soft = np.sin(16 * points_N3[..., :1]) * np.sin(19 * points_N3[..., 1:2])
        return skin * (1 + 0.05 * soft)

    def part(x: float, y: float, height: float, *radii: float) -> Solid:
        centre = np.array([0.14 + x, y, TABLE_HEIGHT + height])
        return Ellipsoid(LABELS["phantom"], tissue, UNTURNED, centre, np.array(radii))

    return [
        part(0.13, 0.0, 0.06, 0.20, 0.17 * girth, 0.115),
        part(-0.10, 0.0, 0.05, 0.23, 0.15 * girth, 0.10 * girth),
        part(0.31, 0.0, 0.06, 0.09, 0.05, 0.05),
        part(0.20, 0.16, 0.05, 0.11, 0.065, 0.06),
        part(0.20, -0.16, 0.05, 0.11, 0.065, 0.06),
    ]


def _robot(tip_3: np.ndarray, pointing_3: np.ndarray, size: tuple[int, int]) -> tuple[list[Solid], Cameras]:
    """The arm that holds its tool's tip at a point, and the camera beside the tool."""
    pointing_3 = pointing_3 / np.linalg.norm(pointing_3)
    wrist_3 = tip_3 - TOOL * pointing_3
    base_3 = np.array([-0.58, 0.0, TABLE_HEIGHT])
    shoulder_3 = base_3 + 0.30 * UP
    elbow_3 = _elbow(shoulder_3, wrist_3)
    # the camera sits on the side of the tool that faces away from the arm, and looks a little ahead of the tip
    side_3 = np.array([1.0, 0.0, 0.0]) - pointing_3[0] * pointing_3
    side_3 /= np.linalg.norm(side_3)
    eye_3 = wrist_3 + 0.105 * side_3 - 0.01 * pointing_3
    white, dark, accent = (0.90, 0.91, 0.93), (0.20, 0.21, 0.24), (0.15, 0.47, 0.62)

    def rod(start_3: np.ndarray, end_3: np.ndarray, radius: float, colour: tuple[float, float, float]) -> Solid:
        half = float(np.linalg.norm(end_3 - start_3)) / 2
        turned = along(start_3, end_3)
        return Capsule(LABELS["robot"], _plain(np.array(colour)), turned, (start_3 + end_3) / 2, half, radius)

    across = np.array([0.0, 1.0, 0.0])
    flange = wrist_3 + 0.035 * pointing_3
    arm = [
        Box(LABELS["robot"], _plain(np.array(dark)), UNTURNED, base_3 + 0.03 * UP, np.array([0.11, 0.09, 0.03])),
        rod(base_3 + 0.06 * UP, shoulder_3, 0.065, white),
        rod(shoulder_3 - 0.05 * across, shoulder_3 + 0.05 * across, 0.07, accent),
        rod(shoulder_3, elbow_3, 0.05, white),
        rod(elbow_3 - 0.045 * across, elbow_3 + 0.045 * across, 0.06, accent),
        rod(elbow_3, wrist_3, 0.042, white),
        rod(wrist_3 - 0.02 * pointing_3, flange, 0.045, dark),
        rod(flange, tip_3 - 0.05 * pointing_3, 0.022, white),
        rod(tip_3 - 0.05 * pointing_3, tip_3, 0.016, dark),
    ]
    return arm, _camera(eye_3, tip_3 + 0.02 * side_3 + 0.02 * pointing_3, side_3, WRIST_VIEW_WIDTH, size)


def _elbow(shoulder_3: np.ndarray, wrist_3: np.ndarray) -> np.ndarray:
    """Where the two parts of the arm meet, above the line from shoulder to wrist."""
    line_3 = wrist_3 - shoulder_3
    reach = min(float(np.linalg.norm(line_3)), 0.999 * (UPPER_ARM + FOREARM))
    ahead_3 = line_3 / np.linalg.norm(line_3)
    part = (UPPER_ARM**2 - FOREARM**2 + reach**2) / (2 * reach)
    above_3 = UP - ahead_3[2] * ahead_3
    return shoulder_3 + part * ahead_3 + sqrt(max(UPPER_ARM**2 - part**2, 0.0)) * above_3 / np.linalg.norm(above_3)


def _plain(colour_3: np.ndarray) -> Paint:
    return lambda points_N3: np.broadcast_to(colour_3, points_N3.shape)


def _camera(
    eye_3: np.ndarray, target_3: np.ndarray, up_3: np.ndarray, view_width: float, size: tuple[int, int]
) -> Cameras:
    """A camera that looks at a point; `view_width` is that of what it sees, as a part of the distance."""
    height, width = size
    z_3 = (target_3 - eye_3) / np.linalg.norm(target_3 - eye_3)
    x_3 = np.cross(z_3, up_3)
    x_3 /= np.linalg.norm(x_3)
    rotation_33 = np.stack([x_3, np.cross(z_3, x_3), z_3], axis=-1)
    focal = min(height, width) / view_width
    intrinsics_33 = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return Cameras(intrinsics_33[None], eye_3[None], _quaternion(rotation_33)[None])


def _quaternion(rotation_33: np.ndarray) -> np.ndarray:
    """w, x, y, z, with w >= 0."""
    # the outer product of a quaternion with itself, from which the longest row is the most exact one
    (a, b, c), (d, e, f), (g, h, i) = rotation_33
    outer = np.array(
        [
            [1 + a + e + i, h - f, c - g, d - b],
            [h - f, 1 + a - e - i, b + d, c + g],
            [c - g, b + d, 1 - a + e - i, f + h],
            [d - b, c + g, f + h, 1 - a - e + i],
        ]
    )
    longest = outer[np.linalg.norm(outer, axis=1).argmax()]
    return longest / np.linalg.norm(longest) * (1 if longest[0] >= 0 else -1)


def rays(cameras: Cameras, height: int, width: int) -> np.ndarray:
    """Through the centres of all pixels of a camera's first frame, (H * W, 3) in the world; 1 along the camera's z."""
    v_HW, u_HW = np.mgrid[:height, :width].astype(np.float64)
    pixels_N3 = np.stack([u_HW, v_HW, np.ones_like(u_HW)], axis=-1).reshape(-1, 3)
    return pixels_N3 @ (rotations(cameras.quaternions_F4)[0] @ np.linalg.inv(cameras.intrinsics_F33[0])).T


def see(moment: Moment, cameras: Cameras, height: int, width: int) -> Seen:
    """What a camera sees of a scene, by a ray through each pixel's centre."""
    eye_3, directions_N3 = cameras.positions_F3[0], rays(cameras, height, width)
    depth_N, which_N = first_met(moment.solids, Rays(eye_3[None], directions_N3))
    points_N3 = eye_3 + depth_N[:, None] * directions_N3
    rgb_N3 = (_colours(moment, points_N3, which_N) * 255).round().astype(np.uint8)
    labels_N = np.array([solid.label for solid in moment.solids], np.uint8)[which_N]
    shape = (1, height, width)
    return Seen(rgb_N3.reshape(*shape, 3), depth_N.astype(np.float32).reshape(shape), labels_N.reshape(shape), cameras)


def _colours(moment: Moment, points_N3: np.ndarray, which_N: np.ndarray) -> np.ndarray:
    """Of points on solids, 0..1; matt, so that it does not matter from where they are seen."""
    to_light_3 = TO_LIGHT / np.linalg.norm(TO_LIGHT)
    paint_N3, normals_N3 = np.empty_like(points_N3), np.empty_like(points_N3)
    for i, solid in enumerate(moment.solids):
        here = which_N == i
        if here.any():
            paint_N3[here] = solid.paint(solid.to_own(points_N3[here]))
            normals_N3[here] = solid.normals(points_N3[here])
    facing_N = (normals_N3 @ to_light_3).clip(0)
    lit = np.flatnonzero(facing_N)
    # the room itself casts no shadow: the light comes from a lamp in it
    to_light = Rays(points_N3[lit] + 1e-4 * normals_N3[lit], to_light_3[None])
    facing_N[lit] *= ~is_met(moment.solids[1:], to_light, within=10.0)
    around_N = 0.42 + 0.10 * normals_N3[:, 2]
    return (paint_N3 * (around_N + 0.55 * facing_N)[:, None]).clip(0, 1)
