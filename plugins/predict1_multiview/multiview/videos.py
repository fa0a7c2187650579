"""Reading the video that begins the views of a scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosmos_cli.errors import InputError
from cosmos_cli.generation.cameras import Camera
from cosmos_cli.media.facts import read_facts
from cosmos_cli.media.source import GivenFrames, Source
from cosmos_cli.media.video import read_video
from cosmos_plugins.predict1_multiview.multiview.cameras import cameras_of
from cosmos_plugins.predict1_multiview.multiview.network import network_of
from cosmos_plugins.predict1_multiview.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.predict1_multiview.multiview.samples import Sample, output_paths, size_of, weight_paths

# V views, F frames, H and W pixel height and width, C = 3 colours

_WHERE = "--input-image-or-video-path"


def read_sample(settings: MultiviewSettings, request: MultiviewRequest) -> Sample:
    """The frames that begin every view. Raises InputError: the input cannot be read, or does not fit the cameras."""
    cameras = cameras_of(network_of(settings, request.kind).n_views)
    given, first = None, 0
    if request.input_image_or_video_path is not None:
        given, first = _last_frames(request.input_image_or_video_path, cameras, request.num_input_frames)
    paths = weight_paths(settings, request.kind)
    return Sample(request, cameras, given, *size_of(settings, request), output_paths(request), paths, first)


def check_input(source: Source, cameras: Sequence[Camera], num_given: int) -> tuple[int, int, int]:
    """Frames of all views together, height and width of an input that fits the cameras. Raises InputError."""
    facts = read_facts(source)
    if not facts.fps or (isinstance(source, GivenFrames) and source.is_picture):
        raise InputError(
            f"{source} is a picture, not a video of {len(cameras)} cameras.",
            where=_WHERE,
            fix=f"Give a video in which {_order(cameras)} stand one after the other, each at least one frame long.",
        )
    _check_frames(source, facts.num_frames, cameras, num_given)
    return facts.num_frames, facts.height, facts.width


def _check_frames(source: Source, num_frames: int, cameras: Sequence[Camera], num_given: int) -> None:
    if num_frames % len(cameras):
        raise InputError(
            f"{source} has {num_frames} frames, which do not divide among {len(cameras)} cameras.",
            where=_WHERE,
            fix=f"Give a video with equally many frames of {_order(cameras)}, one after the other.",
        )
    if num_frames // len(cameras) < num_given:
        fewer = " or pass --num-input-frames 1" if num_given > 1 else ""
        raise InputError(
            f"{source} has {num_frames // len(cameras)} frames of each camera, fewer than the {num_given} "
            "of --num-input-frames.",
            where=_WHERE,
            fix=f"Give a longer video{fewer}.",
        )


def _last_frames(source: Source, cameras: Sequence[Camera], num_given: int) -> tuple[np.ndarray, int]:
    """Of every view, and the number of the first of them."""
    check_input(source, cameras, num_given)
    frames_FHWC = read_video(source).frames_FHWC
    _check_frames(source, len(frames_FHWC), cameras, num_given)
    views_VFHWC = frames_FHWC.reshape(len(cameras), -1, *frames_FHWC.shape[1:])
    # the copy lets go of the frames that are not used
    return views_VFHWC[:, -num_given:].copy(), views_VFHWC.shape[1] - num_given


def _order(cameras: Sequence[Camera]) -> str:
    return ", ".join(camera.name for camera in cameras)
