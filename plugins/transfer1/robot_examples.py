"""One example of a segmented clip: the files that are read and written, and what a control weighs in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Strengths(NamedTuple):
    """What one control weighs on the robot and elsewhere."""

    robot: float
    elsewhere: float


@dataclass(frozen=True)
class Example:
    """The files of one example, read and written."""

    folder: Path
    output: Path

    @property
    def labels(self) -> Path:
        return self.folder / "segmentation_label"

    @property
    def pictures(self) -> Path:
        return self.folder / "segmentation"

    @property
    def segmentation(self) -> Path:
        return self.folder / "segmentation.mp4"

    @property
    def input_video(self) -> Path:
        return self.folder / "input_video.mp4"

    @property
    def preview(self) -> Path:
        return self.output / "weights.png"

    @property
    def spec(self) -> Path:
        return self.output / "spec.json"

    def weights(self, control: str) -> Path:
        return self.output / f"{control}_weights.pt"
