"""Short synthetic episodes, and what is known of them exactly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import islice

import numpy as np

from cosmos_cli.worlds.solids import Rays, is_met
from cosmos_plugins.transfer1.guided.episodes.synthetic import Moment, moments, rays, see
from cosmos_plugins.transfer1.guided.views import Cameras, Seen
from cosmos_plugins.transfer1.guided.warp.geometry import extrinsics


def joined(seen: Sequence[Seen]) -> Seen:
    """Frames one after the other."""
    cameras = [each.cameras for each in seen]
    return Seen(
        np.concatenate([each.rgb_FHW3 for each in seen]),
        np.concatenate([each.depth_FHW for each in seen]),
        np.concatenate([each.labels_FHW for each in seen]),
        Cameras(
            np.concatenate([each.intrinsics_F33 for each in cameras]),
            np.concatenate([each.positions_F3 for each in cameras]),
            np.concatenate([each.quaternions_F4 for each in cameras]),
        ),
    )


@cache
def episode(num_frames: int, size: int | tuple[int, int], every: int = 1) -> tuple[Seen, Seen, tuple[Moment, ...]]:
    """Every so manieth frame: room view, wrist view and scene."""
    both = (size, size) if isinstance(size, int) else size
    scenes = tuple(islice(moments(num_frames * every, both), 0, None, every))
    room = joined([see(scene, scene.room, *both) for scene in scenes])
    return room, joined([see(scene, scene.wrist, *both) for scene in scenes]), scenes


def one(seen: Seen, frame: int) -> Seen:
    part = slice(frame, frame + 1)
    return Seen(seen.rgb_FHW3[part], seen.depth_FHW[part], seen.labels_FHW[part], seen.cameras[part])


def truly_seen(scene: Moment, source: Seen, target: Seen) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels of a target's only frame the source sees, (H, W), and where, (H, W, 2): by rays in the scene."""
    size = target.depth_FHW.shape[1:]
    depth_N1 = target.depth_FHW.reshape(-1, 1).astype(np.float64)
    points_N3 = target.cameras.positions_F3 + depth_N1 * rays(target.cameras, *size)
    matrix_44 = extrinsics(source.cameras)[0]
    pixels_N3 = (points_N3 @ matrix_44[:3, :3].T + matrix_44[:3, 3]) @ source.cameras.intrinsics_F33[0].T
    places_N2 = pixels_N3[:, :2] / pixels_N3[:, 2:]
    inside_N = (
        (pixels_N3[:, 2] > 0)
        & (places_N2 >= -0.5).all(1)
        & (places_N2 < np.array(source.depth_FHW.shape[:0:-1]) - 0.5).all(1)
    )
    eye_3 = source.cameras.positions_F3
    hidden_N = is_met(scene.solids, Rays(eye_3, points_N3 - eye_3), within=1 - 1e-4)
    return (inside_N & ~hidden_N).reshape(size), places_N2.reshape(*size, 2)
