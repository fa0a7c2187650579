"""Reading and writing still images."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.stores import here
from cosmos_cli.files.writing import replacing
from cosmos_cli.media.pixels import NoRangeError, check_size, pixels_of, too_large
from cosmos_cli.media.source import GivenFrames, Source

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff"})

_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "GIF")
"""What a file may be, whatever its suffix says. Among the others are some that start programs (EPS) or draw (WMF)."""

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


def is_image(source: Source) -> bool:
    """Whether the suffix, in any case, is that of a still image, or a picture is given in memory."""
    return source.is_picture if isinstance(source, GivenFrames) else source.suffix.lower() in SUFFIXES


def read_image(source: Source) -> np.ndarray:
    """An image as (H, W, 3) uint8 RGB, upright: EXIF orientation applied, alpha dropped, grey and palette expanded.

    Of a moving picture it is the first frame.

    Raises:
        InputError: the file is not an image, is truncated, too large, or of a format whose values mean nothing here.
    """
    if isinstance(source, GivenFrames):
        return source.frames_FHWC[0]
    path = source
    try:
        with warnings.catch_warnings():
            # of sizes below the limit here, and of damage in what is not looked at
            warnings.simplefilter("ignore")
            Image.init()  # not every build knows all of them
            with Image.open(here(path), formats=[name for name in _FORMATS if name in Image.OPEN]) as image:
                check_size(image.height, image.width, path)
                return pixels_of(image)
    except CosmosError:
        raise
    except NoRangeError as error:
        raise InputError(f"{error}.", where=str(path), fix="Convert it to 8 or 16 bits.") from error
    except MemoryError as error:
        raise InputError("does not fit into the memory.", where=str(path), fix="Scale it down first.") from error
    except Image.DecompressionBombError as error:
        raise too_large("far more", path) from error
    except Exception as error:
        # Pillow's decoders raise whatever they like on damaged files
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        with path.open("rb") as file:
            start = file.read(12)
        is_heic = start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS
        reason = "it is in the format HEIC" if is_heic else "its format is not known"
    return InputError(
        f"cannot be read as an image: {reason}.",
        where=str(path),
        fix="Give a PNG, JPEG, WebP, AVIF, BMP or TIFF file.",
    )


def over_white(rgba_HWC: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 with alpha as (H, W, 3) RGB on a white ground; blended in float64, truncated to uint8."""
    alpha = rgba_HWC[..., 3:] / 255.0
    return (rgba_HWC[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def write_png(path: Path, image_HWC: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as PNG, whole or not at all."""
    with replacing(path) as temporary:
        Image.fromarray(image_HWC).save(temporary, format="PNG")
