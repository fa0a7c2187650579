"""What is known of rendered clips as pictures: controls, and a sheet to look at."""

from __future__ import annotations

import colorsys
import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from cosmos_cli.worlds.bodies import COLOURS
from cosmos_cli.worlds.exact import Chance
from cosmos_cli.worlds.render import render
from cosmos_cli.worlds.scene import Scene

# F frames, H and W pixel height and width

_LINE, _GAP = 13, 6
"""Pixels: height of a line of a caption, and between the clips of a sheet."""


def depth_picture(depth_FHW: np.ndarray) -> np.ndarray:
    """Grey pictures as the `depth` control has them, (F, H, W, 3) uint8: near is bright, by the inverse of the depth.

    Black is the farthest and white the nearest point of the whole clip.
    """
    near_FHW = 1 / depth_FHW
    low, high = near_FHW.min(), near_FHW.max()
    grey_FHW = (near_FHW - low) * (np.float32(255) / max(high - low, np.float32(1e-9)))
    return np.repeat((grey_FHW + np.float32(0.5)).astype(np.uint8)[..., None], 3, axis=-1)


def label_picture(labels_FHW: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Every body in a colour on black, (F, H, W, 3) uint8."""
    return np.array([(0, 0, 0), *colours], np.uint8)[labels_FHW]


def mask_colours(count: int, chance: Chance) -> list[tuple[int, int, int]]:
    """RGB colours, neither grey nor dark, that say nothing of what they stand for."""
    parts = [(chance.share(), chance.between(0.3, 1), chance.between(0.4, 1)) for _ in range(count)]
    return [tuple(int(255 * part) for part in colorsys.hsv_to_rgb(*each)) for each in parts]  # type: ignore[misc]


def contact_sheet(scenes: Sequence[Scene], size: tuple[int, int], columns: int = 2, view: int = 0) -> np.ndarray:
    """First, middle and last frame of clips, depth and labels in the middle, and the caption: (H, W, 3) uint8."""
    cells = [_cell(scene, size, view) for scene in scenes]
    height, width = cells[0].shape[:2]
    rows = -(-len(cells) // columns)
    sheet = np.full((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), 255, np.uint8)
    for i, cell in enumerate(cells):
        top, left = _GAP + i // columns * (height + _GAP), _GAP + i % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = cell
    return sheet


def _cell(scene: Scene, size: tuple[int, int], view: int) -> np.ndarray:
    clip, middle = render(scene, size, view), scene.num_frames // 2
    own = [COLOURS[body.colour] for body in scene.bodies]
    known = [picture[middle] for picture in (depth_picture(clip.depth_FHW), label_picture(clip.labels_FHW, own))]
    tiles = [
        np.pad(tile, ((0, 2), (0, 2), (0, 0)), constant_values=255)
        for tile in (*clip.rgb_FHW3[[0, middle, -1]], *known)
    ]
    strip = np.concatenate(tiles, axis=1)
    page = Image.new("RGB", (strip.shape[1], 3 * _LINE), "white")
    lines = textwrap.wrap(scene.caption(view), max(20, strip.shape[1] // 6), max_lines=3, placeholder=" ...")
    ImageDraw.Draw(page).multiline_text((0, 0), "\n".join(lines), fill="black", spacing=1)
    return np.concatenate([strip, np.asarray(page)])
