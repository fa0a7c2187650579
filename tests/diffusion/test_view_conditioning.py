"""Which frames of several views are given."""

from __future__ import annotations

import pytest
import torch

from cosmos_cli.diffusion.rectified_flow import first_frames
from cosmos_cli.diffusion.view_conditioning import given_views

LATENTS = torch.zeros(1, 16, 6, 2, 2)


def mask(**options: object) -> list[float]:
    conditioning = given_views(LATENTS, 3, **options)  # type: ignore[arg-type]
    assert conditioning.mask_B1T11.shape == (1, 1, 6, 1, 1)
    return conditioning.mask_B1T11.flatten().tolist()


def test_whole_views_and_first_frames_of_all_views_are_given() -> None:
    assert mask(whole_views=(0,)) == [1, 1, 0, 0, 0, 0]
    assert mask(num_frames=1) == [1, 0, 1, 0, 1, 0]
    assert mask(num_frames=1, whole_views=(0, 2)) == [1, 1, 1, 0, 1, 1]
    assert mask() == [0] * 6


def test_one_view_is_first_frames() -> None:
    assert torch.equal(given_views(LATENTS, 1, num_frames=2).mask_B1T11, first_frames(LATENTS, 2).mask_B1T11)


@pytest.mark.parametrize("options", [{"num_frames": 3}, {"num_frames": -1}, {"whole_views": (3,)}])
def test_more_than_there_is_cannot_be_given(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="3 views"):
        mask(**options)


def test_frames_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="4 views of together 6"):
        given_views(LATENTS, 4)
