import cv2
import numpy as np
import pytest
import torch

from cosmos_cli.media.resize import cover_and_crop, nearest_aspect_ratio, resize_bicubic, stretch
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


def test_the_nearest_aspect_ratio_switches_where_the_squared_distance_does() -> None:
    sizes = {
        (480, 640): "4:3",
        (1080, 1920): "16:9",
        (224, 224): "1:1",
        (448, 224): "9:16",
        (1000, 1556): "16:9",
        (1000, 1555): "4:3",
        (1000, 656): "9:16",
        (1000, 657): "3:4",
        (64, 56): "1:1",  # exactly between 1:1 and 3:4
    }
    assert {size: nearest_aspect_ratio(*size) for size in sizes} == sizes


def test_stretching_reaches_any_size_and_keeps_labels() -> None:
    labels = moving_gradient(1, 37, 53)[0]
    stretched = stretch(labels, 64, 96, interpolation=cv2.INTER_NEAREST)
    assert stretched.shape == (64, 96, 3)
    assert {tuple(p) for p in stretched.reshape(-1, 3)} <= {tuple(p) for p in labels.reshape(-1, 3)}
    assert stretch(labels, 37, 53, interpolation=cv2.INTER_AREA) is labels


def test_bicubic_resampling_of_bytes_stays_within_bytes() -> None:
    image = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    image[..., 8:] = 255  # a bicubic overshoots here, and would wrap around
    larger = resize_bicubic(image, 32, 32)
    assert larger.dtype == torch.uint8
    assert larger[..., :12].max() == 0
    assert larger[..., -12:].min() == 255
