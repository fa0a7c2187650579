"""The published workflow's warp; its numbers are in the golden file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cosmos_plugins.transfer1.guided.warp.splat import depth_weights, splat, spread
from tests.plugins.transfer1.guided.episodes import episode


def places(*rows: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def test_of_several_on_one_pixel_the_last_counts() -> None:
    colours = torch.tensor([[[-0.5, 0.25]]])  # one colour, one row of two pixels
    onto_one = places((0, 0, 1), (0, 0, 1))
    made, covered = spread(colours, torch.ones(1, 2, dtype=torch.bool), onto_one, 1)
    torch.testing.assert_close(made, torch.tensor([[[0.25, -1.0]]]))
    assert covered.tolist() == [[True, False]]


def test_the_farthest_counts_less_and_the_hidden_not_at_all() -> None:
    torch.testing.assert_close(depth_weights(places((0, 0, 1), (0, 0, 3))), torch.tensor([1, 0.4]))
    colours = torch.tensor([[[-0.5, 0.25]]])
    made, covered = spread(colours, torch.tensor([[True, False]]), places((0, 0, 1), (0, 0, 1)), 1)
    assert not covered.any()  # the last one hides the first, although it is not shown
    assert (made == -1).all()


def test_places_that_are_no_numbers_cost_nothing() -> None:
    colours = torch.tensor([[[-0.5, 0.25, 0.75]]])
    wild = places((float("nan"), 0, 1), (1e30, -1e30, 1), (1, 0, 1))
    made, covered = spread(colours, torch.ones(1, 3, dtype=torch.bool), wild, 1)
    assert covered.tolist() == [[False, True, False]]
    torch.testing.assert_close(made[0, 0, 1], torch.tensor(0.75))


def test_frames_and_depth_have_one_size() -> None:
    room, wrist, _ = episode(1, 48)
    warped = splat(room.rgb_FHW3, room, wrist, foreground=(3, 4))
    assert warped.frames_FHWC.shape == (1, 48, 48, 3)
    assert 0.2 < warped.covered_FHW.mean() < 1
    with pytest.raises(ValueError, match="depth"):
        splat(np.zeros((1, 24, 24, 3), np.uint8), room, wrist, foreground=(3, 4))
