"""The synthetic episode: exact depth, rigid poses, and everything in sight that guided generation tells apart."""

from __future__ import annotations

import numpy as np

from cosmos_cli.worlds.solids import Box, Capsule, Ellipsoid, Rays, Room, Solid, first_met
from cosmos_plugins.transfer1.guided.episodes.synthetic import rays, render
from cosmos_plugins.transfer1.guided.views import LABELS
from cosmos_plugins.transfer1.guided.warp.geometry import rotations
from tests.plugins.transfer1.guided.episodes import episode


def colourless(points_N3: np.ndarray) -> np.ndarray:
    return np.ones_like(points_N3)


def place(label: int = 1) -> tuple:
    turned = rotations(np.array([[0.8, 0.3, -0.4, 0.2]]))[0]
    return label, colourless, turned, np.array([0.2, -0.1, 0.3])


SOLIDS: list[Solid] = [
    Box(*place(), np.array([0.3, 0.5, 0.2])),
    Ellipsoid(*place(), np.array([0.3, 0.5, 0.2])),
    Capsule(*place(), 0.4, 0.15),
]


def distance(solid: Solid, points_N3: np.ndarray) -> np.ndarray:
    """From the surface, or a measure that is zero on it alone."""
    own_N3 = solid.to_own(points_N3)
    if isinstance(solid, Box):
        return np.abs(own_N3 / solid.half_3).max(-1) - 1
    if isinstance(solid, Ellipsoid):
        return np.linalg.norm(own_N3 / solid.radii_3, axis=-1) - 1
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


def test_depth_and_poses_are_exact() -> None:
    for view in episode(3, 64, every=14)[:2]:
        scene_depth = view.depth_FHW.astype(np.float64)
        assert np.isfinite(scene_depth).all()
        assert (scene_depth > 0.02).all()
        np.testing.assert_allclose(np.linalg.norm(view.cameras.quaternions_F4, axis=1), 1, atol=1e-12)
    room, _, scenes = episode(3, 64, every=14)
    for i, scene in enumerate(scenes):
        directions_N3 = rays(room.cameras[i : i + 1], 64, 64)
        points_N3 = room.cameras.positions_F3[i] + room.depth_FHW[i].reshape(-1, 1) * directions_N3
        # one and the same table top, whatever the camera
        table = room.labels_FHW[i].reshape(-1) == LABELS["table"]
        heights = points_N3[table, 2]
        assert np.isclose(heights, scene.still[3].centre_3[2] + 0.025, atol=1e-5).mean() > 0.8


def test_both_views_show_every_label_that_matters_and_move() -> None:
    room, wrist, _ = episode(3, 64, every=14)
    for view in (room, wrist):
        for label in ("table", "phantom", "robot"):
            assert (view.labels_FHW == LABELS[label]).mean() > 0.01, label
        assert np.abs(np.diff(view.cameras.positions_F3, axis=0)).max() > 0.001
    assert (room.labels_FHW == LABELS["ground"]).any()
    assert (room.labels_FHW == LABELS["unlabelled"]).any()
    assert set(np.unique(room.labels_FHW)) <= set(LABELS.values())


def test_a_seed_gives_one_episode_and_another_seed_another() -> None:
    (room, wrist), (again, _), (other, _) = (next(render(1, 32, seed)) for seed in (4, 4, 5))
    np.testing.assert_array_equal(room.rgb_FHW3, again.rgb_FHW3)
    np.testing.assert_array_equal(room.depth_FHW, again.depth_FHW)
    assert (room.rgb_FHW3 != other.rgb_FHW3).mean() > 0.5
    assert (room.rgb_FHW3.shape, wrist.depth_FHW.shape) == ((1, 32, 32, 3), (1, 32, 32))
