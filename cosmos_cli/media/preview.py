"""Contact sheets: a clip at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

# F frames, H and W pixel height and width, C = 3 colours

_MARGIN = 12
_LINE = 26
_INK, _FAINT, _PAPER = (32, 32, 36), (120, 120, 128), (250, 250, 248)


def contact_sheet(
    title: str, rows: Sequence[tuple[str, np.ndarray]], *, columns: int = 6, cell_width: int = 240
) -> np.ndarray:
    """One picture of several clips, a row of evenly spaced frames each, with frame numbers.

    Args:
        title: one line over the sheet; characters outside ASCII are drawn as "?".
        rows: label and (F, H, W, 3) uint8 frames of each clip.
        columns: frames shown per clip, fewer if it has fewer; the first and the last are always among them.
    Returns:
        (H, W, 3) uint8 RGB.
    """
    width = columns * (cell_width + _MARGIN) + _MARGIN
    strips = [caption(title, width, scale=0.6)]
    for label, frames in rows:
        strips.append(caption(label, width, scale=0.5))
        strips.append(_strip(frames, columns, cell_width, width))
    strips.append(_paper(_MARGIN, width))
    return np.concatenate(strips)


def _strip(frames_FHWC: np.ndarray, columns: int, cell_width: int, width: int) -> np.ndarray:
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
        _write(strip, f"frame {index}", left, cell_height + 17, 0.42, _FAINT)
    return strip


def caption(text: str, width: int, *, scale: float) -> np.ndarray:
    """A line of text on paper, cut to the width, (32, width, 3) uint8."""
    line = _paper(_LINE + 6, width)
    longest = int(width / (19 * scale))
    _write(line, text if len(text) <= longest else text[: longest - 3] + "...", _MARGIN, _LINE - 4, scale, _INK)
    return line


def _write(image: np.ndarray, text: str, x: int, y: int, scale: float, colour: tuple[int, int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(image, plain, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def _paper(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), _PAPER, dtype=np.uint8)
