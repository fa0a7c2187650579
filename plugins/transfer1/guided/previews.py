"""Pictures that show at a glance what became of an episode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from cosmos_cli.media.image import write_png
from cosmos_cli.media.preview import Row, caption, contact_sheet
from cosmos_cli.media.resize import stretch
from cosmos_cli.media.video import write_video
from cosmos_plugins.transfer1.guided.controls import AnyFrames

# F frames, H and W pixel height and width

Rows = Sequence[tuple[str, AnyFrames]]
"""Label and (F, H, W, 3) uint8 frames each, such as: simulation, mask, generated room, warp, generated wrist."""

_PANEL_PX = 256
_AT_ONCE = 16


def write_sheet(path: Path, title: str, rows: Rows) -> None:
    """Write a picture with a row of evenly spaced frames of each, whole or not at all."""
    # frames that are made when they are needed are indexed like an array
    write_png(path, contact_sheet(title, [Row(label, cast(Any, frames)) for label, frames in rows]))


def write_side_by_side(path: Path, rows: Rows, fps: float) -> None:
    """Write a video that shows all of them beside each other, with their labels, whole or not at all."""
    write_video(path, side_by_side(rows), fps)


def side_by_side(rows: Rows) -> Iterator[np.ndarray]:
    """Each frame of all, beside each other at one height under their labels, (H, W, 3) uint8 of even sizes.

    The last frames of shorter ones stay.
    """
    widths = [_width(frames) for _, frames in rows]
    labels = np.concatenate([caption(label, width) for (label, _), width in zip(rows, widths, strict=True)], axis=1)
    for first in range(0, num_frames := max(len(frames) for _, frames in rows), _AT_ONCE):
        places = np.arange(first, min(first + _AT_ONCE, num_frames))
        parts = [frames[places.clip(max=len(frames) - 1)] for _, frames in rows]
        for images in zip(*parts, strict=True):
            panels = [_panel(image, width) for image, width in zip(images, widths, strict=True)]
            yield np.concatenate([labels, np.concatenate(panels, axis=1)])


def _width(frames: AnyFrames) -> int:
    height, width = frames.shape[1:3]
    return max(2, round(_PANEL_PX * width / height / 2) * 2)


def _panel(image_HWC: np.ndarray, width: int) -> np.ndarray:
    # nearest keeps the pixels of small pictures visible
    interpolation = cv2.INTER_AREA if image_HWC.shape[0] > _PANEL_PX else cv2.INTER_NEAREST
    return stretch(image_HWC, _PANEL_PX, width, interpolation=interpolation)
