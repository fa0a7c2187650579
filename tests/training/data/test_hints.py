"""Control videos beside clips, and those that are computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.media.resize import stretch_smoothly
from cosmos_cli.media.video import read_video
from cosmos_cli.training.data.checking import check_data
from cosmos_cli.training.data.order import generator_of
from cosmos_cli.training.data.source import open_dataset
from tests.clips import encode, moving_gradient
from tests.training.data.folders import VIEWS, clip, recipe_with, several, single


def test_control_videos_show_the_moments_of_the_clip(tmp_path: Path) -> None:
    single(tmp_path, [9])
    whole = read_video(clip(tmp_path / "lidar" / "a.mp4", 7, height=80)).frames_FHWC
    recipe = recipe_with("videos:VideoFolder", tmp_path, hint="lidar")
    check_data(recipe)
    frames = read_video(tmp_path / "videos" / "a.mp4").frames_FHWC
    begins = set()
    for seed in range(12):
        example = open_dataset(recipe).example(0, generator_of(seed))
        small = [[stretch_smoothly(f, 32, 48) for f in of[:7]] for of in (frames, whole)]
        begin = next(b for b in range(3) if np.array_equal(np.stack(small[0][b : b + 5]), example.frames_FHWC))
        assert np.array_equal(np.stack(small[1][begin : begin + 5]), example.hints_FHWC["lidar"])
        begins.add(begin)
    assert begins == {0, 1, 2}  # the control video ends before the clip


def test_every_view_has_its_control_video(tmp_path: Path) -> None:
    several(tmp_path, [5])
    for place, key in enumerate(VIEWS):
        clip(tmp_path / "hdmap" / key / "a.mp4", 5 + place)
    recipe = recipe_with("views:ViewFolders", tmp_path, view_keys=VIEWS, num_views=3, hint="hdmap")
    check_data(recipe)
    example = open_dataset(recipe).example(0, generator_of(0))
    assert example.hints_FHWC["hdmap"].shape == example.frames_FHWC.shape
    (tmp_path / "hdmap" / VIEWS[1] / "a.mp4").unlink()
    with pytest.raises(InputError, match=r"hdmap.pinhole_front.a\.mp4"):
        check_data(recipe)


@pytest.mark.parametrize("hint", ["edge", "vis", "upscale"])
def test_what_needs_no_files_is_computed_by_chance(tmp_path: Path, hint: str) -> None:
    single(tmp_path, [5])
    noise = np.random.default_rng(0).integers(0, 128, (5, 48, 64, 3), np.uint8)
    encode(tmp_path / "videos" / "a.mp4", moving_gradient(5, 48, 64) // 2 + noise)
    recipe = recipe_with("videos:VideoFolder", tmp_path, hint=hint)
    check_data(recipe)
    dataset = open_dataset(recipe)
    made = [dataset.example(0, generator_of(seed)).hints_FHWC[hint] for seed in (0, 0, *range(1, 12))]
    assert torch.equal(made[0], made[1])
    assert any(not torch.equal(other, made[0]) for other in made[2:])
    assert made[0].shape == (5, 32, 48, 3)
    if hint == "edge":
        assert set(made[0].unique().tolist()) == {0, 255}


def test_what_is_not_computed_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="depth is not computed"):
        check_data(recipe_with("videos:VideoFolder", single(tmp_path, [5]), hint="depth"))
