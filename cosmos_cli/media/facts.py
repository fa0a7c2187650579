"""What a video or picture file says about itself, decoding as little as can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cosmos_cli.media.image import is_image, read_image
from cosmos_cli.media.source import GivenFrames, Source
from cosmos_cli.media.track import count_frames, open_track


@dataclass(frozen=True)
class Facts:
    """num_frames: as many as reading gives. height, width: upright and with square pixels, in pixels."""

    num_frames: int
    height: int
    width: int
    fps: float


def read_facts(source: Source) -> Facts:
    """The facts of a file or of frames. A picture has one frame and no rate. Raises InputError: it is neither."""
    if isinstance(source, GivenFrames):
        num_frames, height, width, _ = source.frames_FHWC.shape
        return Facts(num_frames, height, width, 0.0 if source.is_picture else source.fps)
    path = source
    if is_image(path):
        height, width = read_image(path).shape[:2]
        return Facts(1, height, width, 0.0)
    with open_track(path) as track:
        height, width = track.first_image().shape[:2]
        fps = track.fps
    return Facts(count_frames(path), height, width, fps)


@dataclass(frozen=True)
class Length:
    """num_frames: as many as reading gives. fps: 0 where the file does not say."""

    num_frames: int
    fps: float


def read_length(path: Path) -> Length:
    """What a video's headers say of its length, for many files in a row. Raises InputError like `open_track`."""
    with open_track(path) as track:
        fps, listed = track.fps, track.indexed_frames()
    return Length(count_frames(path) if listed is None else listed, fps)
