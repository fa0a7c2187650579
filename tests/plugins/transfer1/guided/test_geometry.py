"""Poses and intrinsics against closed forms."""

from __future__ import annotations

import numpy as np

from cosmos_plugins.transfer1.guided.views import Cameras
from cosmos_plugins.transfer1.guided.warp.geometry import extrinsics, eye_in, pixels_between, rescaled, rotations


def cameras(seed: int, num_frames: int = 3) -> Cameras:
    random = np.random.default_rng(seed)
    intrinsics_F33 = np.tile(np.array([[90.0, 0, 30], [0, 120, 20], [0, 0, 1]]), (num_frames, 1, 1))
    intrinsics_F33[:, 0, 0] += np.arange(num_frames)
    # near to each other and turned a little, so that what one sees is in front of the other
    quaternions_F4 = np.array([1.0, 0, 0, 0]) + random.normal(0, 0.1, (num_frames, 4))
    return Cameras(intrinsics_F33, random.normal(0, 0.2, (num_frames, 3)), quaternions_F4)


def project(camera: Cameras, frame: int, point_3: np.ndarray) -> tuple[np.ndarray, float]:
    """Pixel and depth, straight from the definition."""
    seen_3 = rotations(camera.quaternions_F4)[frame].T @ (point_3 - camera.positions_F3[frame])
    homogeneous_3 = camera.intrinsics_F33[frame] @ seen_3
    return homogeneous_3[:2] / homogeneous_3[2], float(seen_3[2])


def test_quaternions_turn_as_their_axis_and_angle_say() -> None:
    half = np.deg2rad(35) / 2
    turned = rotations(np.array([[np.cos(half), 0, 0, np.sin(half)], [0, 1, 0, 0], [2, 0, 0, 0]]))
    cos, sin = np.cos(2 * half), np.sin(2 * half)
    np.testing.assert_allclose(turned[0], [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], atol=1e-15)
    np.testing.assert_allclose(turned[1], np.diag([1, -1, -1]), atol=1e-15)
    np.testing.assert_allclose(turned[2], np.eye(3), atol=1e-15)


def test_extrinsics_bring_the_camera_to_zero_and_what_it_looks_at_in_front() -> None:
    camera = cameras(0)
    matrices_F44 = extrinsics(camera)
    for frame, matrix_44 in enumerate(matrices_F44):
        ahead_3 = camera.positions_F3[frame] + 2 * rotations(camera.quaternions_F4)[frame][:, 2]
        np.testing.assert_allclose(matrix_44 @ [*camera.positions_F3[frame], 1], [0, 0, 0, 1], atol=1e-14)
        np.testing.assert_allclose(matrix_44 @ [*ahead_3, 1], [0, 0, 2, 1], atol=1e-14)


def test_a_pixel_with_its_depth_is_found_in_the_other_camera() -> None:
    source, target = cameras(1), cameras(2)
    matrices_F33, offsets_F3 = pixels_between(source, target)
    for frame in range(3):
        point_3 = np.array([0.3, -0.2, 4.0 + frame])
        (u, v), depth = project(source, frame, point_3)
        expected, expected_depth = project(target, frame, point_3)
        q = matrices_F33[frame] @ [u, v, 1] + offsets_F3[frame] / depth
        np.testing.assert_allclose(q[:2] / q[2], expected, atol=1e-10)
        np.testing.assert_allclose(depth * q[2], expected_depth, atol=1e-12)


def test_an_eye_is_found_as_any_other_point() -> None:
    source, target = cameras(1), cameras(2)
    for frame, (x, y, depth) in enumerate(eye_in(target, source)):
        pixel, expected = project(target, frame, source.positions_F3[frame])
        np.testing.assert_allclose((x / depth, y / depth), pixel, atol=1e-9)
        np.testing.assert_allclose(depth, expected, atol=1e-12)


def test_a_resized_view_shows_a_point_at_the_same_part_of_the_picture() -> None:
    camera = cameras(3)
    larger = rescaled(camera, (48, 64), (144, 160))
    for frame in range(3):
        (u, v), _ = project(camera, frame, np.array([0.1, 0.2, 5.0]))
        (large_u, large_v), _ = project(larger, frame, np.array([0.1, 0.2, 5.0]))
        np.testing.assert_allclose(((large_u + 0.5) / 160, (large_v + 0.5) / 144), ((u + 0.5) / 64, (v + 0.5) / 48))
