import numpy as np
import pytest
import torch

from cosmos_plugins.transfer1.weights import has_maps, normalise_maps, normalise_numbers, to_patch_grid


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0.25] * 4, [0.25] * 4),
        ([0.5] * 4, [0.25] * 4),
        ([0.5, 0.75, 0.75], [0.25, 0.375, 0.375]),
        ([1.0], [1.0]),
        ([2.0], [1.0]),
        ([0.5], [0.5]),
        ([0.3], [0.30078125]),  # the nearest bfloat16
    ],
)
def test_numbers_are_shared_out_only_above_one(given: list[float], expected: list[float]) -> None:
    assert normalise_numbers(given).tolist() == expected


def test_where_masked_controls_overlap_all_share_and_elsewhere_the_rest_do() -> None:
    mask = np.zeros((5, 6), np.float32)
    mask[1:3, 2:4] = 0.5
    maps = normalise_maps([mask, mask, 0.5, 0.5], 9, 5, 6)[:, 0, 0]
    inside, outside = maps[:, :, 1, 2], maps[:, :, 0, 0]
    assert inside.unique().tolist() == [0.25]
    assert [float(weight) for weight in outside[:, 0]] == [0, 0, 0.5, 0.5]
    assert float(maps.sum(dim=0).max()) == 1


def test_a_map_of_zero_stays_zero_beside_another_and_negative_values_count_as_zero() -> None:
    maps = normalise_maps([0.0, torch.tensor([[-3.0, 0.5]])], 2, 1, 2)
    assert maps[:, 0, 0, :, 0].tolist() == [[[0, 0], [0, 0]], [[0, 0.5], [0, 0.5]]]


def test_maps_of_another_size_and_length_are_resampled() -> None:
    ramp = torch.linspace(0, 1, 4)[:, None, None].expand(4, 2, 3)
    maps = normalise_maps([ramp], 8, 4, 6)[0, 0, 0]
    assert maps.shape == (8, 4, 6)
    assert (maps[1:, 0, 0] >= maps[:-1, 0, 0]).all()
    assert (maps == maps[:, :1, :1]).all()


def test_the_first_frame_stands_alone_on_the_patch_grid() -> None:
    maps = torch.zeros(1, 1, 1, 17, 32, 32)
    maps[:, :, :, 0] = 1
    maps[:, :, :, 12:14] = 0.5  # the middle of the second group of eight
    patches = to_patch_grid(maps, (3, 2, 2))
    assert patches[0, 0, 0, :, 0, 0].tolist() == [1, 0, 0.5]
    assert patches.shape == (1, 1, 1, 3, 2, 2)
    assert to_patch_grid(maps[:, :, :, :1], (1, 2, 2)).shape == (1, 1, 1, 1, 2, 2)


def test_maps_that_do_not_fit_are_value_errors() -> None:
    with pytest.raises(ValueError, match="two or three axes"):
        normalise_maps([np.ones(3)], 9, 4, 4)
    with pytest.raises(ValueError, match="of 12 frames do not go with 2 latent frames"):
        to_patch_grid(torch.ones(1, 1, 1, 12, 4, 4), (2, 1, 1))


def test_one_map_among_the_weights_makes_maps_of_all() -> None:
    assert not has_maps([0.5, 1])
    assert has_maps([0.5, np.ones((2, 2))])
