import numpy as np
import pytest

from cosmos_cli.media.resize import cover_and_crop
from tests.clips import moving_gradient


def test_a_picture_of_the_right_size_is_untouched() -> None:
    frames = moving_gradient(3, 32, 48)
    np.testing.assert_array_equal(cover_and_crop(frames, 32, 48), frames)


@pytest.mark.parametrize("size", [(17, 500), (500, 17), (31, 47), (1, 1), (32, 49), (1080, 1920)])
def test_any_size_comes_out_as_asked(size: tuple[int, int]) -> None:
    frames = np.full((2, *size, 3), 77, np.uint8)
    result = cover_and_crop(frames, 32, 48)
    assert result.shape == (2, 32, 48, 3)
    # truncation may take one step off a constant, interpolation must not add anything
    assert set(np.unique(result)) <= {76, 77}


def test_the_centre_is_kept() -> None:
    frames = np.zeros((1, 32, 96, 3), np.uint8)
    frames[:, :, 24:72] = 200
    assert (cover_and_crop(frames, 32, 48) == 200).all()
