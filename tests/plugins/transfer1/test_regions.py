"""Regions of a video: what a user may give, and which tokens it comes to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.requests import validate
from cosmos_plugins.transfer1.chunks import plan_chunks, take
from cosmos_plugins.transfer1.regional_prompts import RegionalPrompt
from cosmos_plugins.transfer1.regions import (
    box_map,
    read_boxes,
    read_mask_video,
    read_region,
    to_latent_grid,
    to_token_grid,
    token_masks,
)
from tests.clips import encode

GRID_HW = (12, 16)


def mask_clip(path: Path, mask_FHW: np.ndarray, colour: tuple[int, int, int] = (255, 255, 255)) -> Path:
    return encode(path, mask_FHW[..., None].astype(np.uint8) * np.array(colour, np.uint8))


def tokens_by_hand(map_Fhw: np.ndarray, t: int) -> np.ndarray:
    """The rule written out for an even latent grid: two middle frames of eight, all four latents of a patch."""
    frames = [map_Fhw[0]] + [map_Fhw[1 + 8 * i : 9 + 8 * i][3:5].mean(axis=0) for i in range(t - 1)]
    _, h, w = map_Fhw.shape
    patches = np.stack(frames).reshape(t, h // 2, 2, w // 2, 2).mean(axis=(2, 4))
    return patches > 0.5


def test_a_box_covers_the_latents_between_its_edges_rounded_down() -> None:
    inside = box_map((0.25, 0.0, 0.5, 1.0), (88, 160))
    assert np.array_equal(np.flatnonzero(inside[0]), np.arange(40, 80))
    assert (inside == inside[0]).all()
    uneven = box_map((0.01, 0.51, 0.99, 0.99), (88, 160))
    rows, columns = np.nonzero(uneven)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (44, 86, 1, 157)


@pytest.mark.parametrize("grid_thw", [(16, 44, 80), (1, 4, 6), (3, 6, 3)])
def test_the_left_half_is_the_left_half_of_the_tokens_at_any_size_and_length(grid_thw: tuple[int, int, int]) -> None:
    t, rows, columns = grid_thw
    left = np.broadcast_to(box_map((0, 0, 0.5, 1), (2 * rows, 2 * columns)), (8 * (t - 1) + 1, 2 * rows, 2 * columns))
    expected = (torch.arange(columns) < columns // 2).expand(grid_thw)
    assert torch.equal(to_token_grid(left, grid_thw), expected)


def test_a_token_that_is_half_in_a_region_is_not_in_it() -> None:
    map_hw = np.zeros((4, 4), np.float32)
    map_hw[:, 0] = map_hw[0, 2] = 1
    map_hw[2:, 1] = [0.001, 0]
    assert to_token_grid(map_hw[None], (1, 2, 2))[0].tolist() == [[False, False], [True, False]]


def test_masks_are_sampled_in_the_middle_of_each_patch_and_of_each_eight_frames() -> None:
    mask = np.random.default_rng(0).random((17, 96, 128)) > 0.5
    map_Fhw = to_latent_grid(mask, GRID_HW)
    middle = mask.reshape(17, 12, 8, 16, 8)[:, :, 3:5, :, 3:5].mean(axis=(2, 4))
    np.testing.assert_allclose(map_Fhw, middle, atol=1e-6)
    tokens = to_token_grid(map_Fhw, (3, 6, 8))
    assert np.array_equal(tokens.numpy(), tokens_by_hand(map_Fhw, 3))
    # multiples of 1/32 are exact in bfloat16 too, in which the original computes
    halved = torch.from_numpy(map_Fhw).bfloat16()
    assert torch.equal(halved.float(), torch.from_numpy(map_Fhw))


def test_a_mask_of_another_resolution_covers_the_same_tokens() -> None:
    small = np.zeros((9, 24, 32), bool)
    small[:, 4:20, 8:24] = True
    large = small.repeat(9, axis=1).repeat(9, axis=2)
    grids = [to_token_grid(to_latent_grid(mask, GRID_HW), (2, 6, 8)) for mask in (small, large)]
    assert torch.equal(grids[0], grids[1])
    assert grids[0].sum() == 2 * 4 * 4


def test_a_last_group_of_fewer_than_eight_frames_counts_too() -> None:
    map_Fhw = np.zeros((1 + 8 + 3, 2, 2), np.float32)
    map_Fhw[10] = 1  # the middle one of the last three
    assert to_token_grid(map_Fhw, (3, 1, 1)).flatten().tolist() == [False, False, True]
    with pytest.raises(ValueError, match="a region of 12 frames does not go with 2 latent frames"):
        to_token_grid(map_Fhw, (2, 1, 1))


def test_a_region_moves_through_the_chunks_of_a_long_clip() -> None:
    map_Fhw = np.zeros((200, *GRID_HW), np.float32)
    map_Fhw[:121, :, :8] = map_Fhw[121:, :, 8:] = 1
    box = np.broadcast_to(box_map((0, 0, 1, 0.5), GRID_HW), map_Fhw.shape)
    first, second = (
        token_masks([take(map_Fhw, chunk), take(box, chunk)], (16, 6, 8)).unflatten(1, (16, 6, 8))
        for chunk in plan_chunks(200, overlap=1, chunk_frames=121)
    )
    assert first.dtype == torch.bool
    assert first[0, :, :, :4].all()
    assert not first[0, :, :, 4:].any()
    assert second[0, 0, :, :4].all()  # the frame that both chunks share
    assert second[0, 1:, :, 4:].all()
    assert not second[0, 1:, :, :4].any()
    assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 40, 0), (150, 150, 150)])
def test_a_mask_video_marks_its_region_in_any_bright_colour(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    mask = np.zeros((9, 48, 64), bool)
    mask[:, 16:32, 16:48] = True
    path = mask_clip(tmp_path / "mask.mp4", mask, colour)
    assert (read_mask_video(path) == mask).mean() > 0.99  # a lossy codec may blur the outline
    map_Fhw = read_region(path, 9, GRID_HW, where="region")
    assert map_Fhw.shape == (9, *GRID_HW)
    assert to_token_grid(map_Fhw, (2, 6, 8)).sum() == 2 * 2 * 4


def test_boxes_in_a_file_make_one_region(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([[0, 0, 0.25, 1], [0.75, 0, 1, 1]]))
    map_Fhw = read_region(path, 3, GRID_HW, where="region")
    assert map_Fhw.shape == (3, *GRID_HW)
    assert map_Fhw[0, 0].tolist() == [1] * 4 + [0] * 8 + [1] * 4


def test_a_longer_mask_video_is_cut_and_said_so(tmp_path: Path) -> None:
    path = mask_clip(tmp_path / "mask.mp4", np.ones((5, 48, 64), bool))
    with output.recording():
        assert len(read_region(path, 3, GRID_HW, where="region")) == 3
        assert output.notices() == [f"{path} has 5 frames; the first 3 are used"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "must hold a list of boxes"),
        ("[]", "must hold a list of boxes"),
        ("[0, 0, 1, 1]", "a box is four numbers"),
        ("[[0, 0, 1, 1], [0.6, 0, 0.5, 1]]", "x1 must be less than x2"),
        ("[[", "is not JSON"),
        (json.dumps([[0, 0, 1, 1]] * 10_001), "holds 10,001 boxes, more than 10,000"),
    ],
)
def test_a_file_without_boxes_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_boxes(path)
    assert str(path) in str(caught.value)


def test_regions_that_cannot_be_used_are_bad_input(tmp_path: Path) -> None:
    short = mask_clip(tmp_path / "short.mp4", np.ones((5, 48, 64), bool))
    black = mask_clip(tmp_path / "black.mp4", np.zeros((9, 48, 64), bool))
    with pytest.raises(InputError, match=r"short.mp4 has 5 frames, fewer than the 9"):
        read_region(short, 9, GRID_HW, where="regional_prompts[0]")
    with pytest.raises(InputError, match=r"regional_prompts\[0\]: the region .*black.mp4 covers nothing"):
        read_region(black, 9, GRID_HW, where="regional_prompts[0]")
    with pytest.raises(InputError, match="1/16 wide and 1/12 high"):
        read_region((0.01, 0, 0.02, 1), 9, GRID_HW, where="regional_prompts[0]")
    with pytest.raises(InputError, match=r"missing\.mp4"):
        read_region(tmp_path / "missing.mp4", 9, GRID_HW, where="regional_prompts[0]")


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": "red", "mask_prompt": "woman on the right"},
        {"prompt": "red", "region_definitions_path": [0, 0, 0.5, 1]},
        {"prompt": "red", "region_definitions_path": "mask.mp4"},
    ],
)
def test_a_regional_prompt_survives_being_written_and_read(given: dict[str, Any]) -> None:
    request = RegionalPrompt.model_validate(given)
    assert RegionalPrompt.model_validate(request.model_dump(mode="json")) == request
    assert RegionalPrompt.model_validate_json(json.dumps(given)) == request


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt": "red"}, "'red' has no region"),
        ({"prompt": "red", "mask_prompt": "cat", "region_definitions_path": [0, 0, 1, 1]}, "has two regions"),
        ({"prompt": " ", "mask_prompt": "cat"}, "prompt: must not be empty"),
        ({"prompt": "red", "mask_prompt": ""}, "mask_prompt: must not be empty"),
        ({"prompt": "red", "region_definitions_path": ""}, "is empty: give a box"),
        ({"prompt": "red", "region_definitions_path": [0, 0, 1]}, "four numbers"),
        ({"prompt": "red", "region_definitions_path": [0, 0, "1", True]}, "four numbers"),
        ({"prompt": "red", "region_definitions_path": [0, 0, 640, 480]}, "not pixels"),
        ({"prompt": "red", "region_definitions_path": [-0.1, 0, 1, 1]}, r"leaves \[0, 1\]"),
        ({"prompt": "red", "region_definitions_path": [float("nan"), 0, 1, 1]}, r"leaves \[0, 1\]"),
        ({"prompt": "red", "region_definitions_path": [0.5, 0, 0.5, 1]}, "x1 must be less than x2"),
        ({"prompt": "red", "region_definitions_path": [0, 0.9, 1, 0.1]}, "y1 must be less than y2"),
        ({"prompt": "red", "mask_prompts": "cat"}, "Did you mean 'mask_prompt'"),
    ],
)
def test_a_wrong_regional_prompt_says_what_is_wrong(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate([RegionalPrompt], given, where="spec.json, regional_prompts[0]")
