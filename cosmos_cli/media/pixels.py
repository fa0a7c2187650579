"""The pixels of a picture of Pillow, and how many of them there may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from cosmos_cli.errors import InputError

MAX_PX = 120_000_000
"""Pixels of a picture or a frame: those of the largest usual cameras, and some gigabytes on the way to a model."""

MAX_ASPECT = 64
"""Of the longer side of a picture to its shorter one: scaled until it covers a frame, a strip would fill the memory."""

_STRIP = 256
_NO_RANGE = {"I": "whole numbers of 32 bits", "F": "floating-point numbers"}


class NoRangeError(ValueError):
    """The values of a picture reach from black to a white that nothing names."""


def pixels_of(image: Image.Image) -> np.ndarray:
    """A picture of Pillow as (H, W, 3) uint8 RGB, upright and without alpha.

    Raises:
        NoRangeError: its values are not of 8 or 16 bits.
    """
    if image.mode in _NO_RANGE:
        raise NoRangeError(f"has {_NO_RANGE[image.mode]} for pixels, and nothing says which of them is white")
    # a picture that stands upright already would only be copied
    is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    upright = ImageOps.exif_transpose(image) if is_turned else image
    if upright.mode.startswith("I;16"):
        # Pillow would clip 16-bit grey to 255 instead of scaling it
        grey = np.asarray(upright).astype(np.uint16) >> 8
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    return _rgb(upright)


def _rgb(image: Image.Image) -> np.ndarray:
    """Copied strip by strip, since Pillow would hold a large picture several times over on the way."""
    pixels_HWC = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP):
        bottom = min(top + _STRIP, image.height)
        pixels_HWC[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)).convert("RGB"))
    return pixels_HWC


def check_size(height: int, width: int, path: Path) -> None:
    """Refuse a picture or a frame that would fill the memory. Raises InputError."""
    if height * width > MAX_PX:
        raise too_large(f"{width}x{height}, that is {height * width:,},", path)
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise InputError(
            f"is {width}x{height}: one side is more than {MAX_ASPECT} times the other.",
            where=str(path),
            fix="Give a picture whose sides are more alike.",
        )


def too_large(num: str, path: Path) -> InputError:
    """The error that a picture has more than `MAX_PX` pixels."""
    return InputError(
        f"has {num} pixels, and at most {MAX_PX:,} can be read.", where=str(path), fix="Scale it down first."
    )
