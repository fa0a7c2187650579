"""Contact sheets: a clip at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from cosmos_cli.media.lettering import fitted, write

# F frames, H and W pixel height and width, C = 3 colours

_MARGIN = 12
_LINE = 26
_INK, _FAINT, _PAPER = (32, 32, 36), (120, 120, 128), (250, 250, 248)


class Row(NamedTuple):
    """A clip on a sheet. frames: (F, H, W, 3) uint8. first: number of the first of them in the clip they are out of."""

    label: str
    frames: np.ndarray
    first: int = 0


def contact_sheet(title: str, rows: Sequence[Row], *, columns: int = 6, cell_width: int = 240) -> np.ndarray:
    """One picture of several clips, a row of evenly spaced frames each, with frame numbers.

    Args:
        title: over the sheet, in any script, cut to one line.
        columns: frames shown per clip, fewer if it has fewer; the first and the last are always among them.
    Returns:
        (H, W, 3) uint8 RGB.
    """
    width = columns * (cell_width + _MARGIN) + _MARGIN
    strips = [caption(title, width)]
    for row in rows:
        strips.append(caption(row.label, width))
        strips.append(_strip(row, columns, cell_width, width))
    strips.append(_paper(_MARGIN, width))
    return np.concatenate(strips)


def _strip(row: Row, columns: int, cell_width: int, width: int) -> np.ndarray:
    frames_FHWC = row.frames
    num_frames, height, source_width = frames_FHWC.shape[:3]
    cell_height = round(cell_width * height / source_width)
    # nearest keeps the pixels of a small model visible; area averages large frames without aliasing
    interpolation = cv2.INTER_AREA if source_width > cell_width else cv2.INTER_NEAREST
    strip = _paper(cell_height + _LINE, width)
    shown = np.unique(np.linspace(0, num_frames - 1, min(columns, num_frames)).round().astype(int))
    for column, index in enumerate(shown):
        left = _MARGIN + column * (cell_width + _MARGIN)
        cell = cv2.resize(frames_FHWC[index], (cell_width, cell_height), interpolation=interpolation)
        strip[:cell_height, left : left + cell_width] = cell
        write(strip, fitted(f"frame {row.first + index}", cell_width), left, cell_height + 18, _FAINT)
    return strip


def caption(text: str, width: int) -> np.ndarray:
    """A line of text on paper, cut to the width, (32, width, 3) uint8."""
    line = _paper(_LINE + 6, width)
    write(line, fitted(text, width - 2 * _MARGIN), _MARGIN, _LINE - 4, _INK)
    return line


def _paper(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), _PAPER, dtype=np.uint8)
