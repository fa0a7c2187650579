"""The room view as the wrist camera sees it, against views that were rendered there."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from cosmos_plugins.transfer1.guided.episodes.synthetic import Moment
from cosmos_plugins.transfer1.guided.views import Cameras, Seen
from cosmos_plugins.transfer1.guided.warp.geometry import rotations
from cosmos_plugins.transfer1.guided.warp.zbuffer import Warped, warp
from tests.plugins.transfer1.guided.episodes import episode, one, truly_seen

SIZE = 160
SQUARE = (SIZE, SIZE)
NEIGHBOURS = np.ones((3, 3), np.uint8)
MARGIN = 4
"""Steps of 255 that a colour may leave the range of its neighbours by."""


def pixel_sizes(places_HW2: np.ndarray) -> np.ndarray:
    """How many of the wrist's pixels one of the room's covers, along its longer side, (H, W); at least 1."""
    steps_HW22 = np.stack([np.gradient(places_HW2, axis=1), np.gradient(places_HW2, axis=0)], axis=-1)
    smallest_HW = np.linalg.svd(steps_HW22, compute_uv=False)[..., 1]
    return np.ceil(1 / smallest_HW.clip(1e-2, 1)).astype(int)


def within_one_pixel(colours_HWC: np.ndarray, true_HWC: np.ndarray, reach_HW: np.ndarray) -> np.ndarray:
    """Whether colours lie within the range of the true ones around, up to `reach_HW` pixels away, (H, W)."""
    agrees_HW = np.zeros(reach_HW.shape, bool)
    for reach in np.unique(reach_HW):
        window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
        low, high = cv2.erode(true_HWC, window).astype(int), cv2.dilate(true_HWC, window).astype(int)
        inside_HW = ((colours_HWC >= low - MARGIN) & (colours_HWC <= high + MARGIN)).all(-1)
        agrees_HW |= inside_HW & (reach_HW == reach)
    return agrees_HW


def edges(seen: Seen) -> np.ndarray:
    """Pixels next to a step in the depth of a view's only frame, or to the border, (H, W)."""
    nearness_HW = 1 / seen.depth_FHW[0].astype(np.float64)
    found_HW = np.ones(nearness_HW.shape, bool)
    bend_y = np.abs(np.diff(nearness_HW, 2, axis=0)[:, 1:-1]) > 0.02 * nearness_HW[1:-1, 1:-1]
    bend_x = np.abs(np.diff(nearness_HW, 2, axis=1)[1:-1]) > 0.02 * nearness_HW[1:-1, 1:-1]
    found_HW[1:-1, 1:-1] = bend_y | bend_x
    return cv2.dilate(found_HW.astype(np.uint8), NEIGHBOURS) > 0


def check(scene: Moment, source: Seen, target: Seen, warped: Warped, *, strict: bool) -> tuple[float, int, float]:
    """Of one frame: how much agrees in colour of what both see, wrong holes or covers, and how much both see.

    A colour agrees if the true view has it within one pixel. A hole or cover is wrong if it is, and no silhouette is
    within one pixel, neither in the one view nor in the other.

    Args:
        strict: one of the target's pixels is meant; else one of the room's, where that is larger.
    """
    seen_HW, places_HW2 = truly_seen(scene, source, target)
    covered_HW = warped.covered_FHW[0]
    reach_HW = np.ones_like(places_HW2[..., 0], int) if strict else pixel_sizes(places_HW2)
    agrees_HW = within_one_pixel(warped.frames_FHWC[0], target.rgb_FHW3[0], reach_HW)
    both_HW = seen_HW & covered_HW
    silhouette_HW = cv2.dilate(seen_HW.astype(np.uint8), NEIGHBOURS) != cv2.erode(seen_HW.astype(np.uint8), NEIGHBOURS)
    height, width = source.depth_FHW.shape[1:]
    columns, rows = np.nan_to_num(places_HW2).round().astype(int).transpose(2, 0, 1)
    silhouette_HW |= edges(source)[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    wrong_HW = (covered_HW != seen_HW) & ~silhouette_HW
    return float(agrees_HW[both_HW].mean()), int(wrong_HW.sum()), float(both_HW.mean())


@pytest.mark.parametrize("frame", range(3))
def test_the_warped_true_room_view_is_the_true_wrist_view_where_both_see(frame: int) -> None:
    rooms, wrists, scenes = episode(3, SIZE, every=14)
    room, wrist = one(rooms, frame), one(wrists, frame)
    warped = warp(room.rgb_FHW3, room, wrist, foreground=(), size=SQUARE)
    agrees, num_wrong, both = check(scenes[frame], room, wrist, warped, strict=False)
    assert agrees >= 0.99
    assert num_wrong <= 0.0005 * SIZE**2  # silhouettes that meet in one pixel
    assert both > 0.5


@pytest.mark.parametrize("frame", range(3))
def test_the_warped_true_wrist_view_is_the_true_room_view_to_a_pixel(frame: int) -> None:
    rooms, wrists, scenes = episode(3, SIZE, every=14)
    room, wrist = one(rooms, frame), one(wrists, frame)
    # the wrist's view is the finer one, so that nothing is magnified
    warped = warp(wrist.rgb_FHW3, wrist, room, foreground=(), size=SQUARE)
    agrees, num_wrong, both = check(scenes[frame], wrist, room, warped, strict=True)
    assert agrees >= 0.99
    assert num_wrong <= 0.0005 * SIZE**2
    assert both > 0.03


def test_a_camera_sees_itself_unchanged() -> None:
    room, wrist, _ = episode(3, SIZE, every=14)
    for view in (room, wrist):
        warped = warp(view.rgb_FHW3, view, view, foreground=(), size=SQUARE)
        assert warped.covered_FHW.all()
        np.testing.assert_array_equal(warped.frames_FHWC, view.rgb_FHW3)


def test_frames_do_not_depend_on_the_others_and_every_run_is_the_same() -> None:
    room, wrist, _ = episode(3, SIZE, every=14)
    together, again = (warp(room.rgb_FHW3, room, wrist, foreground=(3, 4), size=(96, 144)) for _ in range(2))
    np.testing.assert_array_equal(together.frames_FHWC, again.frames_FHWC)
    np.testing.assert_array_equal(together.covered_FHW, again.covered_FHW)
    for i in range(3):
        alone = warp(room.rgb_FHW3[i : i + 1], one(room, i), one(wrist, i), foreground=(3, 4), size=(96, 144))
        np.testing.assert_array_equal(together.frames_FHWC[i : i + 1], alone.frames_FHWC)
        np.testing.assert_array_equal(together.covered_FHW[i : i + 1], alone.covered_FHW)


def test_how_much_is_worked_on_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    room, wrist, _ = episode(3, SIZE, every=14)
    usual = warp(room.rgb_FHW3, room, wrist, foreground=(3, 4), size=(200, 144))
    for pixels in (1, 2**24):
        monkeypatch.setattr("cosmos_plugins.transfer1.guided.warp.zbuffer.CPU_PIXELS", pixels)
        other = warp(room.rgb_FHW3[:1], one(room, 0), one(wrist, 0), foreground=(3, 4), size=(200, 144))
        np.testing.assert_array_equal(other.frames_FHWC, usual.frames_FHWC[:1])
        np.testing.assert_array_equal(other.covered_FHW, usual.covered_FHW[:1])


def test_what_is_in_the_foreground_of_the_room_is_not_shown_and_hides_all_the_same() -> None:
    room, wrist, _ = episode(3, SIZE, every=14)
    everything = warp(room.rgb_FHW3, room, wrist, foreground=(), size=SQUARE)
    background = warp(room.rgb_FHW3, room, wrist, foreground=(3, 4), size=SQUARE)
    assert not (background.covered_FHW & ~everything.covered_FHW).any()
    is_background = ~np.isin(wrist.labels_FHW, (3, 4))
    assert background.covered_FHW[~is_background].mean() < 0.01
    both = background.covered_FHW & everything.covered_FHW
    lost = everything.covered_FHW & ~background.covered_FHW & is_background
    assert lost.mean() < 0.01  # a rim of the room's silhouettes
    assert (np.abs(background.frames_FHWC[both].astype(int) - everything.frames_FHWC[both]) <= 40).mean() > 0.99


@pytest.mark.parametrize(("shown", "size"), [(320, 320), (320, 160), (160, 320)])
def test_frames_and_result_may_have_other_sizes_than_the_depth(shown: int, size: int) -> None:
    room, wrist, _ = episode(1, SIZE)
    frames = episode(1, shown)[0].rgb_FHW3
    _, true_wrist, scenes = episode(1, size)
    warped = warp(frames, room, wrist, foreground=(), size=(size, size))
    assert warped.frames_FHWC.shape == (1, size, size, 3)
    seen_HW, places_HW2 = truly_seen(scenes[0], episode(1, shown)[0], true_wrist)
    assert (warped.covered_FHW[0] == seen_HW).mean() > 0.97
    # two of the depth's pixels more, for silhouettes are known no better
    reach_HW = pixel_sizes(places_HW2) + 4
    agrees_HW = within_one_pixel(warped.frames_FHWC[0], true_wrist.rgb_FHW3[0], reach_HW)
    assert agrees_HW[seen_HW & warped.covered_FHW[0]].mean() >= 0.99


def plane(size: int, position: tuple[float, float, float], quaternion: tuple[float, float, float, float]) -> Seen:
    """What a camera sees of the plane z = 0 of the world, coloured by place; infinitely far where it sees none."""
    intrinsics_33 = np.array([[size, 0, (size - 1) / 2], [0, size, (size - 1) / 2], [0, 0, 1.0]])
    cameras = Cameras(intrinsics_33[None], np.array([position]), np.array([quaternion]))
    v_HW, u_HW = np.mgrid[:size, :size].astype(float)
    rays_HW3 = np.stack([u_HW, v_HW, np.ones_like(u_HW)], -1) @ np.linalg.inv(intrinsics_33).T
    world_HW3 = rays_HW3 @ rotations(cameras.quaternions_F4)[0].T
    with np.errstate(divide="ignore"):
        depth_HW = -position[2] / world_HW3[..., 2]
    depth_HW[depth_HW <= 0] = np.inf
    place_HW3 = np.nan_to_num(np.array(position) + depth_HW[..., None] * world_HW3, posinf=0, neginf=0)
    rgb_HW3 = (127.5 + 120 * np.sin(place_HW3 * (2, 3, 0) + (0, 0, 1))).astype(np.uint8)
    return Seen(rgb_HW3[None], depth_HW[None].astype(np.float32), np.ones((1, size, size), np.uint8), cameras)


DOWN = (0.0, 1.0, 0.0, 0.0)


def test_a_magnified_surface_has_no_gaps() -> None:
    far, near = plane(64, (0, 0, 8), DOWN), plane(128, (0.3, -0.2, 0.25), DOWN)
    warped = warp(far.rgb_FHW3, far, near, foreground=(), size=(256, 256))
    assert warped.covered_FHW.all()  # one pixel of the far camera on 128 of the near one
    colours = warped.frames_FHWC[0].astype(int)
    assert np.abs(cv2.resize(near.rgb_FHW3[0], (256, 256)).astype(int) - colours).max() <= 6


def test_points_behind_the_room_camera_are_not_shown() -> None:
    below, wide = plane(64, (0, 0, 1), DOWN), plane(64, (0, 0, 4), DOWN)
    assert warp(below.rgb_FHW3, below, wide, foreground=(), size=(64, 64)).covered_FHW.any()
    up = replace(below, cameras=replace(below.cameras, quaternions_F4=np.array([[1.0, 0, 0, 0]])))
    assert not warp(up.rgb_FHW3, up, wide, foreground=(), size=(64, 64)).covered_FHW.any()


def test_the_sky_is_seen_where_both_see_it_and_unknown_depth_nowhere() -> None:
    tilted = (0.6428, 0.7660, 0.0, 0.0)  # the horizon is in the picture
    room, wrist = plane(64, (0, 0, 1), tilted), plane(64, (0.1, 0, 1), tilted)
    sky = np.isinf(wrist.depth_FHW)
    assert 0.1 < sky.mean() < 0.9
    warped = warp(room.rgb_FHW3, room, wrist, foreground=(), size=(64, 64))
    assert warped.covered_FHW[sky].all()
    unknown = replace(wrist, depth_FHW=np.where(sky, 0, wrist.depth_FHW))
    assert not warp(room.rgb_FHW3, room, unknown, foreground=(), size=(64, 64)).covered_FHW[sky].any()
    blind = replace(room, depth_FHW=np.zeros_like(room.depth_FHW))
    assert not warp(room.rgb_FHW3, blind, wrist, foreground=(), size=(64, 64)).covered_FHW.any()


def test_other_numbers_of_frames_are_refused() -> None:
    room, wrist, _ = episode(3, SIZE, every=14)
    with pytest.raises(ValueError, match="2 frames, 3 of the room"):
        warp(room.rgb_FHW3[:2], room, wrist, foreground=(), size=SQUARE)
