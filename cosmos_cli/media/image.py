"""Reading and writing still images."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np

from cosmos_cli.errors import InputError
from cosmos_cli.media.source import GivenFrames, Source
from cosmos_cli.runtime.files import replacing

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


def is_image(source: Source) -> bool:
    """Whether the suffix, in any case, is that of a still image, or a picture is given in memory."""
    return source.is_picture if isinstance(source, GivenFrames) else source.suffix.lower() in SUFFIXES


def read_image(source: Source) -> np.ndarray:
    """An image as (H, W, 3) uint8 RGB, upright: EXIF orientation applied, alpha dropped, grey and palette expanded.

    Raises:
        InputError: the file is not an image, or is truncated.
    """
    if isinstance(source, GivenFrames):
        return source.frames_FHWC[0]
    path = source
    try:
        if iio.improps(path, plugin="pillow").dtype == np.uint16:
            # Pillow would clip 16-bit grey to 255 instead of scaling it
            grey = iio.imread(path, plugin="pillow", rotate=True)
            return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=-1)
        return iio.imread(path, plugin="pillow", mode="RGB", rotate=True)
    except Exception as error:
        # Pillow's decoders raise whatever they like on damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"cannot be read as an image: {reason}.", where=str(path), fix="Give a PNG, JPEG, WebP, BMP or TIFF file."
        ) from error


def over_white(rgba_HWC: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 with alpha as (H, W, 3) RGB on a white ground; blended in float64, truncated to uint8."""
    alpha = rgba_HWC[..., 3:] / 255.0
    return (rgba_HWC[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def write_png(path: Path, image_HWC: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as PNG, whole or not at all."""
    with replacing(path) as temporary:
        iio.imwrite(temporary, image_HWC, plugin="pillow", extension=".png")
