"""What guides the wrist view: gaps filled, foreground pasted, planes that say where."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_plugins.transfer1.guided.views import Cameras, Seen
from cosmos_plugins.transfer1.guided.warp.composition import below_room, compose
from cosmos_plugins.transfer1.guided.warp.zbuffer import Warped

WOOD = (120, 90, 60)


def wrist(size: int = 64) -> Seen:
    """A table, with ground above it and the phantom in the lower right quarter, all one frame."""
    labels = np.full((1, size, size), 2, np.uint8)
    labels[:, : size // 4] = 1
    labels[:, size // 2 :, size // 2 :] = 3
    rgb = np.full((1, size, size, 3), 200, np.uint8)
    cameras = Cameras(np.eye(3)[None], np.zeros((1, 3)), np.array([[1.0, 0, 0, 0]]))
    return Seen(rgb, np.ones((1, size, size), np.float32), labels, cameras)


def warped(size: int = 64) -> Warped:
    """All of it wood, but for the left third, which was not seen."""
    frames = np.full((1, size, size, 3), WOOD, np.uint8)
    covered = np.ones((1, size, size), bool)
    covered[:, :, : size // 3] = False
    frames[~covered] = 0
    return Warped(frames, covered)


def test_gaps_on_the_table_are_filled_with_what_is_known_and_others_stay() -> None:
    composed = compose(warped(), wrist(), foreground=(3,), fill=True)
    background, foreground = composed.planes_2FHW[:, 0]
    assert (composed.frames_FHWC[0, 40, :16] == WOOD).all()
    assert background[40, :16].all()
    assert (composed.frames_FHWC[0, 4, :10] == 0).all()  # ground
    assert not background[4, :10].any()
    assert (foreground == (wrist().labels_FHW[0] == 3)).all()
    assert (composed.frames_FHWC[0][foreground == 1] == 200).all()
    assert not (background & foreground).any()
    assert composed.planes_2FHW.dtype == np.uint8


def test_without_filling_what_was_not_seen_stays_open() -> None:
    composed = compose(warped(), wrist(), foreground=(3, 4), fill=False)
    assert not composed.planes_2FHW[0, 0, :, :20].any()
    assert (composed.frames_FHWC[0, :30, :20] == 0).all()
    assert (composed.frames_FHWC[0, :30, 30:] == WOOD).all()


@pytest.mark.parametrize("fill", [True, False])
def test_a_frame_of_which_nothing_is_known_keeps_its_foreground_only(fill: bool) -> None:
    nothing = Warped(np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, 64, 64), bool))
    composed = compose(nothing, wrist(), foreground=(3, 4), fill=fill)
    kept = wrist().labels_FHW == 3
    assert (composed.frames_FHWC[kept] == 200).all()
    assert (composed.frames_FHWC[~kept] == 0).all()
    assert not composed.planes_2FHW[0].any()
    assert (composed.planes_2FHW[1] == kept).all()


def test_a_larger_view_is_composed_alike() -> None:
    small = compose(warped(224), wrist(224), foreground=(3,), fill=True)
    large = compose(warped(448), wrist(224), foreground=(3,), fill=True)
    assert large.frames_FHWC.shape == (1, 448, 448, 3)
    assert (large.planes_2FHW[:, :, ::2, ::2] == small.planes_2FHW).mean() > 0.99
    difference = np.abs(large.frames_FHWC[:, ::2, ::2].astype(int) - small.frames_FHWC)
    assert (difference <= 10).mean() > 0.97


def test_below_the_room_view_all_of_which_is_kept() -> None:
    planes_2FHW = compose(warped(), wrist(), foreground=(3,), fill=True).planes_2FHW
    tall_2FHW = below_room(planes_2FHW)
    assert not tall_2FHW[0, :, :64].any()
    assert tall_2FHW[1, :, :64].all()
    assert (tall_2FHW[:, :, 64:] == planes_2FHW).all()


def test_what_is_known_beside_the_foreground_and_the_unknown_beside_the_table_stay_as_they_are() -> None:
    random = np.random.default_rng(0)
    seen = warped()
    seen.frames_FHWC[seen.covered_FHW] = random.integers(50, 255, (int(seen.covered_FHW.sum()), 3))
    composed = compose(seen, wrist(), foreground=(3,), fill=True)
    np.testing.assert_array_equal(composed.frames_FHWC[0, :32, 30:], seen.frames_FHWC[0, :32, 30:])
    assert (composed.frames_FHWC[0, :16, :21] == 0).all()
    by_reference = compose(seen, wrist(), foreground=(3,), fill=True, reference=True)
    assert (by_reference.frames_FHWC[0, 12:16, :16] > 0).any()
