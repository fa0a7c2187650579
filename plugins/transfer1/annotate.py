"""Control videos and weight maps alone, to be looked at before they cost GPU time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

from cosmos_cli.errors import InputError
from cosmos_cli.files.names import check_name
from cosmos_cli.files.outputs import check_writable, making
from cosmos_cli.files.writing import replacing
from cosmos_cli.media.image import write_png
from cosmos_cli.media.preview import contact_sheet
from cosmos_cli.media.resize import stretch
from cosmos_cli.media.video import write_video
from cosmos_plugins.transfer1.checks import check_request
from cosmos_plugins.transfer1.needs import check_annotators
from cosmos_plugins.transfer1.pipeline import preview_rows, write_computed
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.samples import Sample, computed_paths, output_paths
from cosmos_plugins.transfer1.videos import read_sample

# F frames, H and W pixel height and width

TILE_HEIGHT_PX = 352
"""Height of one video in the side-by-side video."""


_FILES = {"control": "{}.mp4", "weight": "{}_weight.mp4", "map": "{}_weight.safetensors"}


@dataclass(frozen=True)
class Annotations:
    """What was written.

    files: "control:<name>" to a control video, "map:<name>" to a weight map and "weight:<name>" to a picture of it.
    """

    sheet: Path
    side_by_side: Path
    files: dict[str, Path]

    def summary(self) -> str:
        """A line per file, for people."""
        return "\n".join(str(path) for path in (*self.files.values(), self.side_by_side, self.sheet))

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        files = {name: str(path) for name, path in self.files.items()}
        return {"sheet": str(self.sheet), "side_by_side": str(self.side_by_side), "files": files}


def annotate(settings: TransferSettings, request: TransferRequest) -> Annotations:
    """Compute the controls and weight maps that a request asks for, and show them beside the input.

    Raises:
        InputError: all that is wrong with the settings, the controls, the input and the output.
        CheckpointError: a model that annotates is missing.
    """
    check_request(settings, request)
    if request.input_video_path is None:
        raise InputError("is required.", where="--input-video-path", fix="Give the video to annotate.")
    check_name(output_paths(request)["video"], field="--video-save-name")
    folder = request.video_save_folder / f"{request.video_save_name.removesuffix('.mp4')}_controls"
    sheet, side_by_side = folder / "sheet.png", folder / "side_by_side.mp4"
    paths = {key: folder / _FILES[key.partition(":")[0]].format(key.partition(":")[2]) for key in _made(request)}
    for path in (sheet, side_by_side, *paths.values()):
        check_writable(path, field="--video-save-folder", overwrite=request.overwrite)
    check_annotators(settings, request)
    with making((side_by_side, sheet, *paths.values()), overwrite=request.overwrite):
        sample = read_sample(settings, request)
        write_computed(sample, paths)
        for control in sample.controls:
            if (map_path := paths.get(f"map:{control.name}")) is not None:
                with replacing(map_path) as temporary:
                    save_file({"control_weight": torch.as_tensor(control.weight)}, temporary)
        rows = list(preview_rows(sample))
        write_video(side_by_side, _side_by_side([row.frames for row in rows], sample), request.fps)
        write_png(sheet, contact_sheet(request.prompt, rows))
    return Annotations(sheet, side_by_side, paths)


def _made(request: TransferRequest) -> list[str]:
    """What is computed: "control:<name>" for videos, "weight:<name>" and "map:<name>" for weight maps."""
    computed = list(computed_paths(request))
    return [*computed, *(key.replace("weight:", "map:") for key in computed if key.startswith("weight:"))]


def _side_by_side(videos: list[np.ndarray], sample: Sample) -> Iterator[np.ndarray]:
    """Frames with all videos next to each other; one of a single frame stands still."""
    height = min(TILE_HEIGHT_PX, sample.height) // 2 * 2
    width = round(height * sample.width / sample.height / 2) * 2
    for i in range(sample.num_frames):
        frames = [video[min(i, len(video) - 1)] for video in videos]
        yield np.hstack([stretch(frame, height, width, interpolation=cv2.INTER_AREA) for frame in frames])
