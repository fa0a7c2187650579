"""A request whose input is read: what a pipeline makes a video of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli.generation.weights import Paths
from cosmos_plugins.nemo_bridge.requests import RunVideoOptions

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours


@dataclass(frozen=True)
class Sample:
    """One video to make.

    given_FHWC: the frames that it begins with, uint8 in the input's own size; None if there are none.
    height, width: of the video in pixels.
    """

    request: RunVideoOptions
    given_FHWC: np.ndarray | None
    height: int
    width: int
    outputs: Mapping[str, Path]
    paths: Paths

    @property
    def weights(self) -> Mapping[str, Path]:
        return self.paths.named()


def output_paths(request: RunVideoOptions) -> dict[str, Path]:
    """The files of one video: "video", "prompt", "sidecar", and "preview" if asked for."""
    video = request.video_save_path
    if video is None:
        video = request.video_save_folder / f"{request.video_save_name.removesuffix('.mp4')}.mp4"
    elif not video.suffix:
        video = video.with_suffix(".mp4")
    paths = {"video": video, "prompt": video.with_suffix(".txt"), "sidecar": video.with_suffix(".json")}
    return paths | ({"preview": video.with_suffix(".png")} if request.preview else {})
