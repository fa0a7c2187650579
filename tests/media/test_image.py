import struct
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image, features

from cosmos_cli.errors import InputError
from cosmos_cli.media.facts import Facts, read_facts
from cosmos_cli.media.image import is_image, over_white, read_image, write_png
from cosmos_cli.media.source import GivenFrames
from cosmos_cli.media.video import read_video
from tests.clips import moving_gradient
from tests.media.files import huge_png, tiled_heic

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


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_avif_is_a_picture(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.avif", quality=100)
    assert read_facts(tmp_path / "a.avif") == Facts(1, 24, 32, 0.0)


def test_what_is_transparent_becomes_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = (0, 128, 255)
    assert over_white(rgba)[0].tolist() == [[255, 255, 255], [227, 127, 127], [200, 0, 0]]


@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_damaged_pictures_are_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.png"
    write_png(path, np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "gif.jpg", "a.tiff"])
def test_of_a_moving_picture_the_first_frame_counts(tmp_path: Path, name: str) -> None:
    frames = [Image.fromarray(np.full((24, 32, 3), 40 + 60 * i, np.uint8)) for i in range(3)]
    kind = {"a.png": "PNG", "a.webp": "WEBP", "gif.jpg": "GIF", "a.tiff": "TIFF"}[name]
    frames[0].save(tmp_path / name, format=kind, save_all=True, append_images=frames[1:])
    assert np.abs(read_image(tmp_path / name).astype(int) - 40).max() <= 2
    assert read_facts(tmp_path / name) == Facts(1, 24, 32, 0.0)


MIRRORS = {
    1: PICTURE,
    2: PICTURE[:, ::-1],
    3: PICTURE[::-1, ::-1],
    4: PICTURE[::-1],
    5: PICTURE.transpose(1, 0, 2),
    6: np.rot90(PICTURE, -1),
    7: np.rot90(PICTURE, 2).transpose(1, 0, 2),
    8: np.rot90(PICTURE, 1),
}


@pytest.mark.parametrize("orientation", MIRRORS)
@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_every_exif_orientation_is_applied_in_files_and_in_memory(tmp_path: Path, orientation: int, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PICTURE).save(tmp_path / name, exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / name), MIRRORS[orientation])
    with Image.open(tmp_path / name) as image:
        np.testing.assert_array_equal(read_image(GivenFrames(image)), MIRRORS[orientation])


def test_deep_grey_is_scaled_in_memory_too() -> None:
    deep = (PICTURE[..., 0].astype(np.uint16) * 257).astype("<u2")
    given = GivenFrames(Image.fromarray(deep))
    np.testing.assert_array_equal(read_image(given), np.repeat(PICTURE[..., :1], 3, axis=-1))


@pytest.mark.parametrize(("kind", "words"), [(np.int32, "whole numbers of 32 bits"), (np.float32, "floating-point")])
def test_values_that_may_reach_anywhere_are_refused_by_name(tmp_path: Path, kind: type, words: str) -> None:
    image = Image.fromarray(np.linspace(0, 70000, 24 * 32).reshape(24, 32).astype(kind))
    image.save(tmp_path / "ramp.tif")
    with pytest.raises(InputError, match=words):
        read_image(tmp_path / "ramp.tif")
    with pytest.raises(ValueError, match=words):
        GivenFrames(image)


@pytest.mark.parametrize("name", ["a.heic", "a.jpg"])
def test_a_picture_of_tiles_is_refused_by_its_format(tmp_path: Path, name: str) -> None:
    path = tiled_heic(tmp_path / name, np.full((64, 64, 3), 99, np.uint8))
    for read in (read_facts, read_image if is_image(path) else read_video):
        with pytest.raises(InputError, match="HEIC"):
            read(path)


def test_what_is_no_picture_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"cannot be read as an image: its format is not known\."):
        read_image(tmp_path / "a.png")


OTHERS = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "wmf": struct.pack("<IHhhhhHIH", 0x9AC6CDD7, 0, 0, 0, 10, 10, 1440, 0, 0) + b"\x01\x00\t\x00" + bytes(40),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'/>",
    "html": b"<!doctype html><html></html>",
    "pdf": b"%PDF-1.4\n",
    "xpm": b"/* XPM */\n",
    "nothing": b"",
}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
@pytest.mark.parametrize("kind", OTHERS)
def test_what_poses_as_a_picture_is_refused_and_starts_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
) -> None:
    (tmp_path / "gs").write_text("#!/bin/sh\ntouch started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # it is looked for anew
    (tmp_path / f"a{suffix}").write_bytes(OTHERS[kind])
    with pytest.raises(InputError, match=r"cannot be read as an image: its format is not known\."):
        read_image(tmp_path / f"a{suffix}")
    assert not Path("started").exists()


@pytest.mark.parametrize(("height", "width"), [(13000, 13000), (13675, 13675), (2, 2**26)])
def test_a_picture_of_too_many_pixels_is_refused_before_it_fills_the_memory(
    tmp_path: Path, height: int, width: int
) -> None:
    path = huge_png(tmp_path / "a.png", height, width)
    code = (
        "import resource, sys; from pathlib import Path; from cosmos_cli.media.facts import read_facts\n"
        "from cosmos_cli.errors import InputError\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, -1))\n"
        "try: read_facts(Path(sys.argv[1]))\n"
        "except InputError as error: print(error)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "at most 120,000,000" in said.stdout, said.stderr
    assert not said.stderr


@pytest.mark.slow
def test_a_picture_just_below_the_limit_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = huge_png(tmp_path / "a.png", 10900, 11000)
    code = (
        "import resource, sys; from pathlib import Path; from cosmos_cli.media.image import read_image\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, -1))\n"
        "print(read_image(Path(sys.argv[1])).shape)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert said.stdout == "(10900, 11000, 3)\n", said.stderr
