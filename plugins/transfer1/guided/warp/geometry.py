"""Where cameras are, and how the pixels of one belong to those of another."""

from __future__ import annotations

import numpy as np

from cosmos_plugins.transfer1.guided.views import Cameras

# F frames


def rotations(quaternions_F4: np.ndarray) -> np.ndarray:
    """Rotation matrices (F, 3, 3) of quaternions w, x, y, z of any length but zero."""
    w, x, y, z = (quaternions_F4 / np.linalg.norm(quaternions_F4, axis=-1, keepdims=True)).T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def extrinsics(cameras: Cameras) -> np.ndarray:
    """From the world to the camera, (F, 4, 4) float64."""
    rotations_F33 = rotations(cameras.quaternions_F4).swapaxes(-1, -2)
    matrices_F44 = np.tile(np.eye(4), (len(cameras), 1, 1))
    matrices_F44[:, :3, :3] = rotations_F33
    matrices_F44[:, :3, 3] = -np.einsum("fij,fj->fi", rotations_F33, cameras.positions_F3)
    return matrices_F44


def rescaled(cameras: Cameras, size: tuple[int, int], new_size: tuple[int, int]) -> Cameras:
    """The same cameras for views of another size, (height, width); the picture's borders stay where they are."""
    scale_y, scale_x = new_size[0] / size[0], new_size[1] / size[1]
    # integer coordinates are centres, so that the border is at -0.5
    resize_33 = np.array([[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2], [0, 0, 1]])
    return Cameras(resize_33 @ cameras.intrinsics_F33, cameras.positions_F3, cameras.quaternions_F4)


def pixels_between(source: Cameras, target: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """How pixels of one camera belong to pixels of another: matrices (F, 3, 3) and offsets (F, 3), float64.

    A point that the source sees at pixel (u, v) with depth d lies at q = matrix @ (u, v, 1) + offset / d: the target
    sees it at pixel (q0 / q2, q1 / q2) with depth d * q2. For a point at infinity 1 / d is 0; one with q2 <= 0 is
    behind the target.
    """
    to_target_F44 = extrinsics(target) @ np.linalg.inv(extrinsics(source))
    matrices_F33 = target.intrinsics_F33 @ to_target_F44[:, :3, :3] @ np.linalg.inv(source.intrinsics_F33)
    offsets_F3 = np.einsum("fij,fj->fi", target.intrinsics_F33, to_target_F44[:, :3, 3])
    return matrices_F33, offsets_F3


def eye_in(target: Cameras, source: Cameras) -> np.ndarray:
    """Where a target camera has the source camera itself, as pixel and depth (u * d, v * d, d), (F, 3) float64."""
    away_F3 = source.positions_F3 - target.positions_F3
    turned_F3 = np.einsum("fji,fj->fi", rotations(target.quaternions_F4), away_F3)
    return np.einsum("fij,fj->fi", target.intrinsics_F33, turned_F3)
