"""Pictures that show at a glance what became of an episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cosmos_cli.media.image import read_image
from cosmos_cli.media.video import read_video
from cosmos_plugins.transfer1.guided.controls import mask_frames, rgb_frames
from cosmos_plugins.transfer1.guided.episodes.episode import open_episode
from cosmos_plugins.transfer1.guided.previews import Rows, side_by_side, write_sheet, write_side_by_side
from tests.plugins.transfer1.guided.recordings import record


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    episode = open_episode(record(tmp_path / "data_1.hdf5"), (3, 4))
    room = rgb_frames(episode, "room")
    colours = np.full((4, 96, 50, 3), (10, 200, 30), np.uint8)
    return [("simulation", room), ("mask", mask_frames(episode, "room", (3, 4))), ("generated", colours)]


def test_all_are_beside_each_other_under_their_labels(rows: Rows) -> None:
    frames = list(side_by_side(rows))
    height, width = frames[0].shape[:2]
    assert (len(frames), height % 2, width % 2) == (6, 0, 0)
    # the last frame of the shorter one stays
    assert all((frame[-256:, -20:] == (10, 200, 30)).all() for frame in frames)
    assert (frames[2][-256, 0] == rows[0][1][2][0, 0]).all()
    assert (frames[0][: height - 256].min(axis=(0, 2))[: width // 3] < 100).any()


def test_sheet_and_video_are_written(rows: Rows, tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.png", "data_1", rows)
    assert read_image(tmp_path / "sheet.png").shape[1] > 1000
    write_side_by_side(tmp_path / "video.mp4", rows, 30)
    assert read_video(tmp_path / "video.mp4").num_source_frames == 6
