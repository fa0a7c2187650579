"""A request whose input is read: what a pipeline of one camera makes a video of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from cosmos_cli.generation.weights import Paths

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours

Request = TypeVar("Request")


@dataclass(frozen=True)
class VideoSample(Generic[Request]):
    """One video to make.

    given_FHWC: the frames that it begins with, uint8 in the input's own size; None if there are none.
    height, width: of the video in pixels.
    num_frames: of the video.
    first_given: number of the first given frame in the input.
    """

    request: Request
    given_FHWC: np.ndarray | None
    height: int
    width: int
    num_frames: int
    outputs: Mapping[str, Path]
    paths: Paths
    first_given: int = 0

    @property
    def weights(self) -> Mapping[str, Path]:
        return self.paths.named()


def video_paths_with_prompt(video: Path, *, preview: bool) -> dict[str, Path]:
    """The files of one video: "video", "prompt", "sidecar", and "preview" if asked for."""
    paths = {"video": video, "prompt": video.with_suffix(".txt"), "sidecar": video.with_suffix(".json")}
    return paths | ({"preview": video.with_suffix(".png")} if preview else {})
