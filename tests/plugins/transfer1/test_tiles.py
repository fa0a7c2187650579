import pytest
import torch

from cosmos_plugins.transfer1.tiles import merge_tiles, split_tiles, upscaled_size


@pytest.mark.parametrize(
    ("ratio", "tile", "canvas"),
    [
        ("16:9", (704, 1280), (1968, 3584)),
        ("4:3", (704, 960), (1920, 2624)),
        ("1:1", (960, 960), (2624, 2624)),
        ("3:4", (960, 704), (2624, 1920)),
        ("9:16", (1280, 704), (3584, 1968)),
    ],
)
def test_three_by_three_tiles_cover_the_upscaled_canvas(
    ratio: str, tile: tuple[int, int], canvas: tuple[int, int]
) -> None:
    assert upscaled_size(*tile, ratio, 256) == canvas
    whole = torch.zeros(1, 1, 1, canvas[0] // 8, canvas[1] // 8)
    assert len(split_tiles(whole, tile[0] // 8, tile[1] // 8)) == 9


def test_tiles_that_agree_make_the_whole_again_but_for_the_dimmed_edge() -> None:
    whole = torch.randn(2, 3, 2, 18, 22, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    merged = merge_tiles(split_tiles(whole, 8, 10), 18, 22)
    torch.testing.assert_close(merged[..., 1:, 1:], whole[..., 1:, 1:], atol=0, rtol=2e-4)
    torch.testing.assert_close(merged, whole, atol=0, rtol=1e-2)


def test_tiles_are_ordered_row_by_row() -> None:
    whole = torch.arange(24.0).view(1, 1, 1, 4, 6)
    corners = split_tiles(whole, 2, 2)[:, 0, 0, 0, 0, 0].tolist()
    assert corners == [0, 2, 4, 12, 14, 16]


def test_a_single_tile_loses_a_little_in_its_first_row_column_and_corner() -> None:
    merged = merge_tiles(torch.ones(1, 1, 1, 1, 4, 4, dtype=torch.float64))[0, 0, 0]
    assert merged[0, 0] == pytest.approx(1e-4 / (1e-4 + 1e-6))
    assert merged[0, 1].item() == merged[2, 0].item() == pytest.approx(1e-2 / (1e-2 + 1e-6))
    assert merged[1, 1] == pytest.approx(1 / (1 + 1e-6))


def test_two_tiles_that_differ_are_blended_without_a_seam() -> None:
    tiles = torch.stack([torch.zeros(1, 1, 1, 4, 8), torch.ones(1, 1, 1, 4, 8)])
    row = merge_tiles(tiles, 4, 12)[0, 0, 0, 2]
    assert (row[1:] >= row[:-1] - 1e-4).all()
    assert (row[1:] - row[:-1]).max() < 0.3


def test_tiles_that_do_not_fit_are_value_errors() -> None:
    with pytest.raises(ValueError, match="equal overlaps"):
        split_tiles(torch.zeros(1, 1, 1, 4, 11), 4, 4)
    with pytest.raises(ValueError, match="1 x 2 tiles make a whole of that size, not 3"):
        merge_tiles(torch.zeros(3, 1, 1, 1, 4, 4), 4, 8)
