"""Rays meet solids exactly."""

from __future__ import annotations

import numpy as np

from cosmos_cli.worlds.exact import turned
from cosmos_cli.worlds.solids import Box, Capsule, Cone, Cylinder, Ellipsoid, Rays, Room, Solid, first_met


def colourless(points_N3: np.ndarray) -> np.ndarray:
    return np.ones_like(points_N3)


def place(label: int = 1) -> tuple:
    axes_33 = turned(np.array([0.6, -0.8, 0.0]), np.array([0.2]))[0]
    return label, colourless, axes_33, np.array([0.2, -0.1, 0.3])


SOLIDS: list[Solid] = [
    Box(*place(), np.array([0.3, 0.5, 0.2])),
    Ellipsoid(*place(), np.array([0.3, 0.5, 0.2])),
    Capsule(*place(), 0.4, 0.15),
    Cylinder(*place(), 0.4, 0.25),
    Cone(*place(), 0.4, 0.25),
]


def distance(solid: Solid, points_N3: np.ndarray) -> np.ndarray:
    """From the surface, or a measure that is zero on it alone."""
    own_N3 = solid.to_own(points_N3)
    if isinstance(solid, Box):
        return np.abs(own_N3 / solid.half_3).max(-1) - 1
    if isinstance(solid, Ellipsoid):
        return np.linalg.norm(own_N3 / solid.radii_3, axis=-1) - 1
    if isinstance(solid, Cylinder | Cone):
        across_N, high_N = np.hypot(own_N3[:, 0], own_N3[:, 1]), own_N3[:, 2] / solid.half_length
        shrunk_N = np.ones_like(high_N) if isinstance(solid, Cylinder) else (1 - high_N) / 2
        return np.maximum(across_N / solid.radius - shrunk_N, np.abs(high_N) - 1)
    assert isinstance(solid, Capsule)
    own_N3[:, 2] -= own_N3[:, 2].clip(-solid.half_length, solid.half_length)
    return np.linalg.norm(own_N3, axis=-1) - solid.radius


def test_rays_end_on_the_surface_and_pass_through_nothing_before() -> None:
    random = np.random.default_rng(0)
    eye_3, directions_N3 = np.array([2.0, 0.3, -0.4]), random.normal((-2.0, -0.3, 0.5), 0.3, (2000, 3))
    for solid in SOLIDS:
        far_N, _ = first_met([solid], Rays(eye_3[None], directions_N3))
        hits_N = np.isfinite(far_N)
        assert 0.1 < hits_N.mean() < 0.95
        ends_N3 = eye_3 + far_N[hits_N, None] * directions_N3[hits_N]
        np.testing.assert_allclose(distance(solid, ends_N3), 0, atol=1e-9)
        assert ((solid.normals(ends_N3) * directions_N3[hits_N]).sum(-1) < 0).all()
        for part in np.linspace(0, 0.999, 30):
            assert (distance(solid, eye_3 + part * (ends_N3 - eye_3)) > 0).all()
        for part in np.linspace(0, 2, 60):  # those that miss never come inside
            assert (distance(solid, eye_3 + part * directions_N3[~hits_N]) > -0.01).all()


def test_a_room_is_seen_from_inside() -> None:
    room = Room(0, colourless, np.eye(3), np.zeros(3), np.array([1.0, 2.0, 3.0]))
    far, _ = first_met([room], Rays(np.zeros((1, 3)), np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, 2]])))
    np.testing.assert_allclose(far, [1, 2, 1.5])
    np.testing.assert_allclose(room.normals(np.array([[1.0, 0, 0]])), [[-1, 0, 0]])
