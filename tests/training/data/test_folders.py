"""Data sets in folders: what an example holds, and what is found before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.media.resize import stretch_smoothly
from cosmos_cli.media.video import read_frames, read_video
from cosmos_cli.training.data.checking import check_data
from cosmos_cli.training.data.order import generator_of
from cosmos_cli.training.data.source import open_dataset
from tests.training.data.folders import VIEWS, clip, embedding, recipe_with, several, single

SINGLE, SEVERAL = "videos:VideoFolder", "views:ViewFolders"


def test_frames_at_places_are_those_of_the_whole_clip(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 12)
    whole = read_video(path).frames_FHWC
    assert np.array_equal(read_frames(path, range(2, 11, 3)).frames_FHWC, whole[2:11:3])
    with pytest.raises(InputError, match="ends after 12 frames"):
        read_frames(path, [11, 12])


def test_an_example_is_a_window_of_a_clip_in_the_size_of_the_recipe(tmp_path: Path) -> None:
    recipe = recipe_with(SINGLE, single(tmp_path), sequence_interval=2)
    check = recipe_with(SINGLE, tmp_path)
    check_data(check)
    dataset = open_dataset(recipe)
    assert len(dataset) == 3
    whole = read_video(tmp_path / "videos" / "c.mp4").frames_FHWC
    begins = set()
    for seed in range(12):
        example = dataset.example(2, generator_of(seed))
        assert torch.equal(example.frames_FHWC, dataset.example(2, generator_of(seed)).frames_FHWC)
        small = [np.stack([stretch_smoothly(f, 32, 48) for f in whole[b : b + 9 : 2]]) for b in range(4)]
        begins.add(next(b for b in range(4) if np.array_equal(small[b], example.frames_FHWC.numpy())))
    assert begins == {0, 1, 2, 3}
    assert example.fps == 5.0  # 10 of the clip, every second
    assert example.text_LC[:, 0].tolist() == [3, 3, 3, 0, 0, 0]


def test_views_stand_one_after_another_with_the_text_of_each(tmp_path: Path) -> None:
    recipe = recipe_with(SEVERAL, several(tmp_path), view_keys=VIEWS, num_views=3, view_indices=(5, 0, 4))
    check_data(recipe)
    dataset = open_dataset(recipe)
    assert len(dataset) == 3 + 1  # windows of 5 in 7 and in 5 frames
    example = dataset.example(2, generator_of(0))
    expected = []
    for key in VIEWS:
        frames = read_video(tmp_path / "videos" / key / "a.mp4").frames_FHWC[2:7]
        expected += [stretch_smoothly(frame, 32, 48) for frame in frames]
    assert np.array_equal(example.frames_FHWC.numpy(), np.stack(expected))
    sentence = [[10, 10, 0, 0, 0, 0], [30, 30, 0, 0, 0, 0]]
    assert example.text_LC[:, 0].view(3, 6).tolist() == [sentence[0], [1, 1, 1, 0, 0, 0], sentence[1]]
    assert example.extras["view_indices"].tolist() == [5, 0, 4]


def test_every_view_may_read_a_caption_and_some_views_may_stay_away(tmp_path: Path) -> None:
    recipe = recipe_with(SEVERAL, several(tmp_path), view_keys=VIEWS, num_views=2, captions_of_all_views=True)
    dataset = open_dataset(recipe)
    seen = set()
    for seed in range(8):
        example = dataset.example(3, generator_of(seed))
        rows = example.extras["view_indices"].tolist()
        seen.add(tuple(rows))
        value = 10 * (rows[1] + 1)
        assert example.text_LC[:, 0].tolist() == [10, 10, 2, 2, 2, 0, value, value, 2, 2, 2, 0]
        assert example.frames_FHWC.shape == (10, 32, 48, 3)
    assert seen == {(0, 1), (0, 2)}


def test_windows_begin_at_intervals(tmp_path: Path) -> None:
    recipe = recipe_with(SEVERAL, several(tmp_path, [12]), view_keys=VIEWS, num_views=3, start_frame_interval=3)
    dataset = open_dataset(recipe)
    assert [dataset.example(i, generator_of(0)).name for i in range(len(dataset))] == [
        "a from frame 0",
        "a from frame 3",
        "a from frame 6",
    ]


def test_all_that_is_wrong_with_clips_and_texts_is_named(tmp_path: Path) -> None:
    single(tmp_path, [9, 3, 9, 9, 9])
    (tmp_path / "t5_xxl" / "c.pickle").unlink()
    embedding(tmp_path / "t5_xxl" / "d.pickle", 3, 1.0, channels=4)
    content = (tmp_path / "videos" / "e.mp4").read_bytes()
    (tmp_path / "videos" / "e.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError) as caught:
        check_data(recipe_with(SINGLE, tmp_path))
    told = [str(problem) for problem in caught.value.problems]
    assert len(told) == 4
    assert "b.mp4: has 3 frames; a window takes 5" in told[0]
    assert "c.pickle: cannot be read" in told[1]
    assert "d.pickle: is an array of 3 x 4; the model reads tokens x 8" in told[2]
    assert "e.mp4: is truncated" in told[3]


def test_of_many_problems_the_first_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    single(tmp_path, [2])
    for place in range(20):
        (tmp_path / "videos" / f"z{place}.mp4").write_bytes((tmp_path / "videos" / "a.mp4").read_bytes())
    with pytest.raises(InputError) as caught:
        check_data(recipe_with(SINGLE, tmp_path))
    assert len(caught.value.problems) == 11
    assert "and 31 more" in caught.value.problems[-1].what  # 21 too short, 20 without texts


def test_views_that_are_missing_or_of_another_rate_are_named(tmp_path: Path) -> None:
    several(tmp_path, [7, 7, 7])
    (tmp_path / "videos" / VIEWS[2] / "a.mp4").unlink()
    clip(tmp_path / "videos" / VIEWS[1] / "b.mp4", 7, fps=12)
    (tmp_path / "t5_xxl" / VIEWS[1] / "c.pkl").unlink()
    recipe = recipe_with(SEVERAL, tmp_path, view_keys=VIEWS, num_views=3)
    with pytest.raises(InputError) as caught:
        check_data(recipe)
    told = [str(problem) for problem in caught.value.problems]
    assert len(told) == 3
    assert "side_left/a.mp4: is missing: 2 of 3 views have this clip" in told[0]
    assert "front/b.mp4: has 12 frames per second, but pinhole_front_left/b.mp4 has 10" in told[1]
    assert "front/c.pkl: cannot be read" in told[2]
    (tmp_path / "cache" / f"prefix_{VIEWS[0]}.pkl").unlink()
    with pytest.raises(InputError, match="prefix_pinhole_front_left"):
        check_data(recipe)


def test_clips_of_one_batch_must_agree_in_their_rate(tmp_path: Path) -> None:
    clip(single(tmp_path) / "videos" / "b.mp4", 9, fps=12)
    check_data(recipe_with(SINGLE, tmp_path))
    with pytest.raises(InputError, match=r"12 frames per second and a\.mp4 10"):
        check_data(recipe_with(SINGLE, tmp_path, batch_size=2))


@pytest.mark.parametrize(
    ("source", "data", "message"),
    [
        ("nothing:Clips", {}, "data.source: cosmos_cli.training.data.nothing:Clips cannot be loaded: .*PYTHONPATH"),
        ("mock:NoClips", {}, "data.source: cosmos_cli.training.data.mock:NoClips cannot be loaded"),
        (SINGLE, {"dataset_dir": ""}, "no folder is named"),
        (SINGLE, {"dataset_dir": "nowhere"}, "no such folder"),
        (SINGLE, {}, "videos: there is no such folder"),
        (SINGLE, {"num_views": 2}, "2 views in a data set of one"),
        (SEVERAL, {}, "names no views"),
        (SEVERAL, {"view_keys": ("a",), "num_views": 2}, "2 views, but 1 are named"),
        (SEVERAL, {"view_keys": ("a",), "view_indices": (1, 2)}, "2 rows for 1 views"),
    ],
)
def test_what_does_not_fit_the_folders_is_told(tmp_path: Path, source: str, data: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_data(recipe_with(source, tmp_path, **data))
