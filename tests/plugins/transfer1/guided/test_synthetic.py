"""The synthetic episode: exact depth, rigid poses, and everything in sight that guided generation tells apart."""

from __future__ import annotations

import numpy as np

from cosmos_plugins.transfer1.guided.episodes.synthetic import rays, render
from cosmos_plugins.transfer1.guided.views import LABELS
from tests.plugins.transfer1.guided.episodes import episode


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
