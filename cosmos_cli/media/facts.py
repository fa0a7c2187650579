"""What a video or picture file says about itself, without decoding more than one frame."""

from __future__ import annotations

from dataclasses import dataclass

import av

from cosmos_cli.errors import InputError
from cosmos_cli.media.image import is_image, read_image
from cosmos_cli.media.source import GivenFrames, Source


@dataclass(frozen=True)
class Facts:
    """height, width: upright, in pixels. num_frames: as the container counts them, which may be a few too many."""

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
    try:
        # a playlist posing as a clip must not make FFmpeg open sockets
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            if not container.streams.video:
                raise InputError("has no video track.", where=str(path), fix="Give a video file, such as an mp4.")
            stream = container.streams.video[0]
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            first = next(container.decode(stream), None)
            if first is None:
                raise InputError("has no frames.", where=str(path), fix="Is the file complete?")
            seconds = float((stream.duration or 0) * stream.time_base) or (container.duration or 0) / av.time_base
            num_frames = stream.frames or max(1, round(seconds * fps))
            size = (first.height, first.width)
            height, width = size if round(first.rotation / 90) % 2 == 0 else size[::-1]
            return Facts(num_frames, height, width, fps)
    except av.error.FFmpegError as error:
        raise InputError(
            f"cannot be read as a video: {error.strerror}.", where=str(path), fix="Is the file complete?"
        ) from error
