from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from cosmos_cli.errors import InputError
from cosmos_cli.media.image import is_image, over_white, read_image, write_png
from tests.clips import moving_gradient

PICTURE = moving_gradient(1, 24, 32)[0]


def test_png_round_trip(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", PICTURE)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PICTURE)


@pytest.mark.parametrize("name", ["a.JPG", "a.jpeg", "a.webp", "a.bmp", "a.TIFF"])
def test_formats_and_spellings(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    iio.imwrite(path, PICTURE, plugin="pillow", extension=path.suffix.lower())
    assert is_image(path)
    assert read_image(path).shape == (24, 32, 3)


def test_alpha_grey_and_deep_grey_become_three_colours(tmp_path: Path) -> None:
    grey = PICTURE[..., 0]
    opaque = np.full_like(grey, 255)
    cases = {
        "alpha.png": np.dstack([PICTURE, opaque]),
        "grey.png": grey,
        "deep.png": grey.astype(np.uint16) * 257,
    }
    for name, pixels in cases.items():
        iio.imwrite(tmp_path / name, pixels)
        expected = PICTURE if name == "alpha.png" else np.repeat(grey[..., None], 3, axis=-1)
        np.testing.assert_array_equal(read_image(tmp_path / name), expected)


def test_what_is_transparent_becomes_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = (0, 128, 255)
    assert over_white(rgba)[0].tolist() == [[255, 255, 255], [227, 127, 127], [200, 0, 0]]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    from PIL import Image

    image = Image.fromarray(PICTURE)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned: show it rotated a quarter clockwise
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(PICTURE, k=-1))


@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_damaged_pictures_are_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.png"
    write_png(path, np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_image(path)
