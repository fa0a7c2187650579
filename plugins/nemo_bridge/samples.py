"""One video to make, and where its files go."""

from __future__ import annotations

from pathlib import Path

from cosmos_cli.generation.samples import VideoSample, video_paths_with_prompt
from cosmos_plugins.nemo_bridge.requests import RunVideoOptions

Sample = VideoSample[RunVideoOptions]


def output_paths(request: RunVideoOptions) -> dict[str, Path]:
    """The files of one video, see `video_paths_with_prompt`."""
    video = request.video_save_path
    if video is None:
        video = request.video_save_folder / f"{request.video_save_name.removesuffix('.mp4')}.mp4"
    elif not video.suffix:
        video = video.with_suffix(".mp4")
    return video_paths_with_prompt(video, preview=request.preview)
