"""One video to make, and where its files go."""

from __future__ import annotations

from pathlib import Path

from cosmos_cli.generation.samples import VideoSample, video_paths_with_prompt
from cosmos_plugins.predict1_multiview.single_view.requests import SingleViewOptions

Sample = VideoSample[SingleViewOptions]


def output_paths(request: SingleViewOptions) -> dict[str, Path]:
    """The files of one video, see `video_paths_with_prompt`."""
    video = request.video_save_folder / f"{request.video_save_name.removesuffix('.mp4')}.mp4"
    return video_paths_with_prompt(video, preview=request.preview)
