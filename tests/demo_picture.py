"""The picture of README, out of what `cosmos demo` has made: `python -m tests.demo_picture cosmos-demo PICTURE`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cosmos_cli import registry
from cosmos_cli.demo.part import Part, Role, Shown
from cosmos_cli.demo.run import STATE_NAME
from cosmos_cli.files.documents import read_json
from cosmos_cli.media.video import read_video

HEIGHT, GAP, LINE, MARGIN = 112, 6, 26, 16
"""Pixels: of a tile, between tiles, of a line of text, and around all."""
INK, FAINT, ACCENT, PAPER = "#1d1f23", "#5f6570", "#2b57b8", "#ffffff"
NAMES: dict[Role, str] = {
    "input": "given",
    "control": "control",
    "output": "made by the model",
    "truth": "for comparison",
}


def picture(folder: Path) -> Image.Image:
    """A row for each part that is done.

    Of a video that is the only one made, the first, the middle and the last frame are shown; of others, one.
    """
    done, known = read_json(folder / STATE_NAME)["parts"], registry.current().extensions["demos"]
    rows = [_row(known[name].resolve()(folder / name, done[name]["seed"])) for name in known if name in done]
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), PAPER)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _row(part: Part) -> Image.Image:
    shown = part.shown()
    num_outputs = sum(one.role == "output" for one in shown)
    groups = [(one.role, _tiles(one, is_alone=num_outputs == 1)) for one in shown]
    title, text = ImageFont.load_default(19), ImageFont.load_default(14)
    width = sum(tile.width + GAP for _, tiles in groups for tile in tiles) + MARGIN * (len(groups) + 1)
    width = max(width, 2 * MARGIN + int(text.getlength(part.prompt)))
    row = Image.new("RGB", (width, MARGIN + 3 * LINE + HEIGHT), PAPER)
    draw, top, left = ImageDraw.Draw(row), MARGIN + 2 * LINE, MARGIN
    draw.text((MARGIN, MARGIN), part.title, INK, title)
    draw.text((MARGIN, MARGIN + LINE), part.prompt, FAINT, text)
    before = ""
    for role, tiles in groups:
        colour = ACCENT if role == "output" else FAINT
        if role != before:
            draw.text((left, top + HEIGHT + 4), NAMES[role], colour, text)
        for tile in tiles:
            row.paste(tile, (left, top))
            if role == "output":
                draw.rectangle((left - 2, top - 2, left + tile.width + 1, top + HEIGHT + 1), outline=ACCENT, width=2)
            left += tile.width + GAP
        left, before = left + MARGIN - GAP, role
    return row


def _tiles(shown: Shown, *, is_alone: bool) -> list[Image.Image]:
    frames = _frames(shown.path)
    last = len(frames) - 1
    places = (0, last // 2, last) if shown.role == "output" and is_alone else (last * 2 // 3,)
    return [_tile(frames[place]) for place in places]


def _frames(path: Path) -> Sequence[np.ndarray]:
    if path.suffix == ".png":
        with Image.open(path) as image:
            return [np.asarray(image.convert("RGB"))]
    return list(read_video(path).frames_FHWC)


def _tile(frame_HWC: np.ndarray) -> Image.Image:
    height, width = frame_HWC.shape[:2]
    return Image.fromarray(frame_HWC).resize((width * HEIGHT // height, HEIGHT), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    picture(Path(sys.argv[1])).save(sys.argv[2], optimize=True)
