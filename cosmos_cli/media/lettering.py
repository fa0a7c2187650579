"""Text on pictures, in any script, with the fonts that lie beside this module."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cosmos_cli.redaction import visible

# H and W pixel height and width

_SIZE_PX = 16
"""Height of a line: the last of the fonts is drawn on a grid of 16 pixels and is sharp at no other size."""

_FONTS = ("DejaVuSans.ttf", "NotoSansDevanagari-Regular.ttf", "Unifont.otf")
"""A letter is drawn with the first of them that has it; the last has every script of Unicode's first plane."""

_NO_LETTER = "\uffff"
_MOST_PER_PX = 4
"""Letters, spaces included, that are looked at for each pixel of a line: all but the strangest texts are wider."""


def write(image_HWC: np.ndarray, text: str, left: int, baseline: int, colour: tuple[int, int, int]) -> None:
    """Write a line of text into a (H, W, 3) uint8 picture, cut at its right edge. Lines in it are joined.

    Scripts whose letters join or run from right to left are shaped where Pillow was built with Raqm, as its wheels are.
    """
    page = Image.fromarray(image_HWC)
    pen, at = ImageDraw.Draw(page), float(left)
    for font, run in _runs(_line(text)):
        pen.text((at, baseline), run, font=font, fill=colour, anchor="ls")
        at += font.getlength(run)
    image_HWC[:] = np.asarray(page)


def fitted(text: str, width: int) -> str:
    """The text as one line, or as much of it as fits into this many pixels, with an ellipsis."""
    line = _line(text[: _MOST_PER_PX * width])
    if len(text) <= _MOST_PER_PX * width and _length(line) <= width:
        return line
    fits, too_long = 0, len(line) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _length(f"{line[:middle]}…") <= width:
            fits = middle
        else:
            too_long = middle
    return f"{line[:fits].rstrip()}…"


def _line(text: str) -> str:
    return " ".join(visible(text).split())


def _length(text: str) -> float:
    return sum(font.getlength(run) for font, run in _runs(text))


def _runs(text: str) -> Iterator[tuple[ImageFont.FreeTypeFont, str]]:
    """A line in pieces of one font each."""
    names: list[str] = []
    for letter in text:
        # marks belong to their letter, and words of one script to each other, or they could not be shaped together
        follows = names and (letter == " " or unicodedata.category(letter) in ("Mn", "Mc", "Me", "Cf"))
        names.append(names[-1] if follows else _font_of(letter))
    letters = iter(text)
    for name, run in groupby(names):
        yield _font(name), "".join(next(letters) for _ in run)


@lru_cache(maxsize=4096)
def _font_of(letter: str) -> str:
    """The first font that has it, else the last, which shows its number in a box."""
    for name in _FONTS:
        font = _font(name)
        if bytes(font.getmask(letter)) != bytes(font.getmask(_NO_LETTER)):
            return name
    return _FONTS[-1]


@lru_cache
def _font(name: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(__file__).parent / "fonts" / name, _SIZE_PX)
