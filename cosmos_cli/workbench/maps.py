"""Weight maps that are painted on a clip: shapes with a value, each for some of the frames."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cosmos_cli.files.writing import replacing, write_json
from cosmos_cli.requests import StrictModel, validate

MOST_SHAPES, MOST_POINTS = 500, 5_000
_MOST_PX, _MOST_VALUES = 320, 40_000_000
"""Of the longer side of a map, which is brought to the size of the video; and of all its frames."""

Unit = Annotated[float, Field(ge=0, le=1)]
Place = Annotated[float, Field(ge=-1, le=2)]
"""Fraction of the width or the height; a shape may reach over the edge."""


class Shape(StrictModel):
    """One rectangle or one stroke of the brush."""

    kind: Literal["rectangle", "brush"]
    value: Unit
    """Weight within it."""
    first: Annotated[int, Field(ge=0)]
    """First frame that has it."""
    last: Annotated[int, Field(ge=0)]
    """Last frame that has it."""
    points: Annotated[tuple[tuple[Place, Place], ...], Field(min_length=1, max_length=MOST_POINTS)]
    """Two opposite corners of a rectangle in the first frame, or the way of the brush; x and y as fractions."""
    end: tuple[tuple[Place, Place], tuple[Place, Place]] | None = None
    """Corners in the last frame, for a rectangle that moves."""
    radius: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Of the brush, as a fraction of the width."""

    @model_validator(mode="after")
    def _has_corners(self) -> Shape:
        if self.kind == "rectangle" and len(self.points) != 2:
            raise ValueError("a rectangle has two corners.")
        return self


class Painting(StrictModel):
    """A whole map."""

    shapes: Annotated[tuple[Shape, ...], Field(max_length=MOST_SHAPES)]
    """From the lowest to the topmost."""
    ground: Unit = 0.0
    """Weight where no shape is."""
    num_frames: Annotated[int, Field(ge=1, le=100_000)]
    """Of the clip."""
    height: Annotated[int, Field(ge=1, le=20_000)]
    """Of the clip in pixels."""
    width: Annotated[int, Field(ge=1, le=20_000)]
    """Of the clip in pixels."""


def read_painting(document: Any) -> Painting:
    """What the page has sent. Raises InputError: all that is wrong with it."""
    [painting] = validate([Painting], document if isinstance(document, dict) else {}, where="map")
    assert isinstance(painting, Painting)
    return painting


def write_map(painting: Painting, folder: Path) -> Path:
    """The file of a painted map; the same painting has the same name, and stands beside it to be painted on.

    Raises:
        DiskFull, CosmosError: it cannot be written.
    """
    text = painting.model_dump_json()
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.npy"
    if not path.is_file():
        import numpy as np

        values = render(painting)
        write_json(path.with_suffix(".json"), painting.model_dump())
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, values)
    return path


def render(painting: Painting) -> Any:
    """The map, (F, H, W) float16 in [0, 1], smaller than the clip; (H, W) where no frame differs from another."""
    import numpy as np

    last = painting.num_frames - 1
    is_still = all(not shape.first and shape.last >= last and shape.end is None for shape in painting.shapes)
    num_frames = 1 if is_still else painting.num_frames
    longer = max(painting.height, painting.width)
    scale = min(1.0, _MOST_PX / longer, (_MOST_VALUES / num_frames / (painting.height * painting.width)) ** 0.5)
    height, width = (max(1, round(size * scale)) for size in (painting.height, painting.width))
    values_FHW = np.full((num_frames, height, width), painting.ground, np.float32)
    for shape in painting.shapes:
        for frame in range(min(shape.first, num_frames), min(shape.last, num_frames - 1) + 1):
            _draw(values_FHW[frame], shape, frame)
    values_FHW = values_FHW.astype(np.float16)
    return values_FHW[0] if is_still else values_FHW


def _draw(values_HW: Any, shape: Shape, frame: int) -> None:
    """Set the values of a shape in one frame, in place."""
    import cv2
    import numpy as np

    height, width = values_HW.shape
    if shape.kind == "rectangle":
        corners = np.array(shape.points)
        if shape.end is not None and shape.last > shape.first:
            share = (frame - shape.first) / (shape.last - shape.first)
            corners = (1 - share) * corners + share * np.array(shape.end)
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        columns = slice(max(0, round(left * width)), max(0, round(right * width)))
        rows = slice(max(0, round(top * height)), max(0, round(bottom * height)))
        values_HW[rows, columns] = shape.value
        return
    points = np.round(np.array(shape.points) * (width, height)).astype(np.int32)
    radius = max(1, round(shape.radius * width))
    cv2.polylines(values_HW, [points], isClosed=False, color=shape.value, thickness=2 * radius)
    for point in (points[0], points[-1]):
        cv2.circle(values_HW, tuple(int(part) for part in point), radius, shape.value, thickness=-1)
