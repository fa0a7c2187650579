"""What a user says about a region of the video: what is there, and where it lies."""

from __future__ import annotations

from pathlib import Path

from pydantic import field_validator, model_validator

from cosmos_cli.generation.settings import NonEmptyPrompt
from cosmos_cli.requests import Anywhere, StrictModel

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2: left, top, right and bottom edge in [0, 1], fractions of the width and the height."""


def checked_box(value: object) -> Box:
    """Four numbers as a box.

    Raises:
        ValueError: they are no box, and why.
    """
    if not isinstance(value, list | tuple) or len(value) != 4 or not all(_is_number(edge) for edge in value):
        raise ValueError(f"a box is four numbers [x1, y1, x2, y2], but this is {value!r}.")
    x1, y1, x2, y2 = (float(edge) for edge in value)
    if not all(0 <= edge <= 1 for edge in (x1, y1, x2, y2)):  # also false for nan
        raise ValueError(
            f"the box {list(value)} leaves [0, 1]: its edges are fractions of the width and the height, not pixels."
        )
    for first, second, low, high in (("x1", "x2", x1, x2), ("y1", "y2", y1, y2)):
        if low >= high:
            raise ValueError(f"the box {list(value)} is empty: {first} must be less than {second}.")
    return x1, y1, x2, y2


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class RegionalPrompt(StrictModel):
    """A prompt for one region of the video; it goes with the prompt for the whole video, half and half."""

    prompt: NonEmptyPrompt
    """What is in the region."""
    mask_prompt: NonEmptyPrompt | None = None
    """Object whose outline is the region, found in the input video."""
    region_definitions_path: Box | Anywhere | None = None
    """The region itself: a box [x1, y1, x2, y2] in fractions of width and height, a .json file with a list of such
    boxes, which make one region together, or a mask video, bright in the region."""

    @field_validator("region_definitions_path", mode="before")
    @classmethod
    def _box_or_path(cls, value: object) -> object:
        if value == "":
            raise ValueError("is empty: give a box, or the path of a mask video or of a .json list of boxes.")
        return value if value is None or isinstance(value, str | Path) else checked_box(value)

    @model_validator(mode="after")
    def _one_form(self) -> RegionalPrompt:
        if self.mask_prompt is None and self.region_definitions_path is None:
            raise ValueError(
                f"the prompt {self.prompt[:40]!r} has no region. Give mask_prompt or region_definitions_path."
            )
        if self.mask_prompt is not None and self.region_definitions_path is not None:
            raise ValueError(
                f"the prompt {self.prompt[:40]!r} has two regions. Give either mask_prompt or region_definitions_path."
            )
        return self
