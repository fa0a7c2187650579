"""Frames of an episode that are made when they are asked for."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from cosmos_plugins.transfer1.chunks import plan_chunks, take
from cosmos_plugins.transfer1.guided.controls import (
    Frames,
    depth_control,
    mask_frames,
    resized,
    rgb_frames,
    seg_control,
    stacked,
)
from cosmos_plugins.transfer1.guided.episodes.episode import Episode, open_episode
from cosmos_plugins.transfer1.guided.episodes.labels import colours_of
from tests.plugins.transfer1.guided.recordings import record, seen


@pytest.fixture
def episode(tmp_path: Path) -> Episode:
    return open_episode(record(tmp_path / "data_1.hdf5"), (3, 4))


def all_frames(episode: Episode) -> list[Frames]:
    room, wrist = (rgb_frames(episode, view) for view in ("room", "wrist"))
    return [
        room,
        mask_frames(episode, "room", [3]),
        depth_control(episode, "wrist"),
        depth_control(episode, "wrist", per_frame=True),
        seg_control(episode, "room"),
        stacked(room, wrist),
        resized(stacked(room, wrist), 48, 32, cv2.INTER_LINEAR),
    ]


@pytest.mark.parametrize("kind", range(7))
def test_frames_are_indexed_like_an_array(episode: Episode, kind: int) -> None:
    frames = pickle.loads(pickle.dumps(all_frames(episode)[kind]))
    whole = np.asarray(frames)
    assert whole.shape == frames.shape
    assert whole.dtype == frames.dtype
    for places in (0, -1, slice(1, 4), np.array([0, 3, 3, 5]), np.array([4, 1]), np.arange(6) % 2 == 0, slice(0, 0)):
        np.testing.assert_array_equal(frames[places], whole[places])
    for wrong in (6, np.array([-7])):
        with pytest.raises(IndexError):
            frames[wrong]
    [chunk] = plan_chunks(len(frames), 1, 33)
    np.testing.assert_array_equal(take(frames, chunk), take(whole, chunk))


def test_depth_is_inverse_and_of_one_scale_for_the_whole_episode(episode: Episode) -> None:
    inverse = 1 / (seen(seed=1).depth_FHW.astype(np.float64) + 1e-6)
    levels = np.asarray(depth_control(episode, "wrist"))
    expected = (inverse - inverse.min()) / (inverse.max() - inverse.min()) * 255
    assert np.abs(levels[..., 0] - expected).max() <= 1  # cut down, in float32
    assert (levels.min(), levels.max()) == (0, 255)
    assert (levels == levels[..., :1]).all()
    own = np.asarray(depth_control(episode, "wrist", per_frame=True))
    assert all((frame.min(), frame.max()) == (0, 255) for frame in own)
    assert not all((frame.min(), frame.max()) == (0, 255) for frame in levels)


def test_one_depth_everywhere_is_black(tmp_path: Path) -> None:
    path = record(tmp_path / "data_1.hdf5", lambda made: made["depth_images"].fill(2))
    episode = open_episode(path, (3, 4))
    for per_frame in (False, True):
        assert not np.asarray(depth_control(episode, "room", per_frame=per_frame)).any()


def test_one_stray_number_does_not_darken_an_episode(tmp_path: Path) -> None:
    path = record(tmp_path / "data_1.hdf5", lambda made: made["depth_images"].__setitem__((0, 0, 0, 0), 1e-30))
    levels = depth_control(open_episode(path, (3, 4)), "room")[0]
    inverse = 1 / seen().depth_FHW[0].astype(np.float64)
    assert levels[0, 0, 0] == 255
    assert np.abs(levels[1:, :, 0] - (inverse[1:] - 1 / 3) / (100 - 1 / 3) * 255).max() < 1.1


def test_segmentation_has_its_colours_or_red_for_blue(episode: Episode) -> None:
    expected = colours_of(seen().labels_FHW)
    np.testing.assert_array_equal(seg_control(episode, "room")[:], expected)
    np.testing.assert_array_equal(seg_control(episode, "room", exchanged=True)[:], expected[..., ::-1])


def test_masks_are_white(episode: Episode) -> None:
    labels = seen(seed=1).labels_FHW
    found = mask_frames(episode, "wrist", [2, 4])[:]
    np.testing.assert_array_equal(found[..., 0], np.where((labels == 2) | (labels == 4), 255, 0))


def test_the_room_is_above_the_wrist(episode: Episode) -> None:
    both = stacked(rgb_frames(episode, "room"), seen(seed=1).rgb_FHW3)
    np.testing.assert_array_equal(both[2], np.concatenate([seen().rgb_FHW3[2], seen(seed=1).rgb_FHW3[2]]))
    with pytest.raises(ValueError, match="cannot stand"):
        stacked(rgb_frames(episode, "room"), both[:5])


def test_resizing_is_opencvs_own(episode: Episode) -> None:
    frames = resized(rgb_frames(episode, "room"), 24, 30, cv2.INTER_LINEAR)
    expected = cv2.resize(seen().rgb_FHW3[3], (30, 24), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(frames[3], expected)
    np.testing.assert_array_equal(frames[np.array([5, 3, 5])][1], expected)
