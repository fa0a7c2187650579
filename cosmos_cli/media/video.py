"""Reading and writing video files with PyAV."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from cosmos_cli.errors import InputError
from cosmos_cli.files.writing import replacing
from cosmos_cli.media.colours import ColourConverter, tag
from cosmos_cli.media.held import HeldFrames
from cosmos_cli.media.image import is_image, read_image
from cosmos_cli.media.source import GivenFrames, Source
from cosmos_cli.media.track import no_frames, open_track
from cosmos_cli.media.whole import truncated

# F frames, H and W pixel height and width, C = 3 colours

CRF = 15
"""x264 quality of written videos; what the originals' "quality 7" comes to."""


@dataclass(frozen=True)
class Clip:
    """Frames out of a video file.

    frames_FHWC: uint8 RGB, upright.
    fps: the file's own rate in frames per second.
    num_source_frames: how many frames the file has.
    """

    frames_FHWC: np.ndarray
    fps: float
    num_source_frames: int


def read_video(source: Source, each: Callable[[np.ndarray], np.ndarray] | None = None) -> Clip:
    """All frames of a video, each passed through `each` as it is decoded. Raises InputError like `read_last_frames`."""
    return read_last_frames(source, None, each)


def check_decodes(source: Source) -> None:
    """Decode a picture or a video to its end and keep nothing of it.

    Raises:
        InputError: as `read_last_frames` for a video, and `cosmos_cli.media.image.read_image` for a picture.
    """
    if is_image(source):
        read_image(source)
    else:
        read_last_frames(source, 1)


def read_last_frames(source: Source, count: int | None, each: Callable[[np.ndarray], np.ndarray] | None = None) -> Clip:
    """The last `count` frames of a video, fewer if it is shorter. The whole file is decoded, `count` frames are kept.

    Frames are those that a player shows, see `open_track` and `Track.images`. `each` turns a decoded frame into the one
    to keep, so that a long clip is held in the size that is needed; only frames that are kept come to it.

    Raises:
        InputError: the file is not a video, has no frame, was cut short, or its frames are too many for the memory.
    """
    if isinstance(source, GivenFrames):
        frames_FHWC = source.frames_FHWC[-count:] if count else source.frames_FHWC
        kept_FHWC = np.stack([each(image) for image in frames_FHWC]) if each else frames_FHWC
        return Clip(kept_FHWC, source.fps, len(source.frames_FHWC))
    path = source
    with open_track(path) as track:
        track.stream.thread_type = "AUTO"
        listed, fps = track.indexed_frames(), track.fps
        held = HeldFrames(path, listed if count is None else None)
        frames = track.frames() if count is None else deque(track.frames(), maxlen=count)
        for frame in frames:
            image = track.image(frame)
            held.add(each(image) if each else image)
        num_frames = track.num_decoded
    if not num_frames:
        raise no_frames(path)
    # a few frames that no decoder can show are not missed; a damaged file lacks many
    if listed is not None and num_frames < 0.95 * listed:
        raise truncated(f"{num_frames} of {listed} frames could be decoded", path)
    return Clip(held.array(), fps, num_frames)


def read_frames(path: Path, indices: Sequence[int], each: Callable[[np.ndarray], np.ndarray] | None = None) -> Clip:
    """The frames at ascending places, counted from 0, each passed through `each`; nothing behind the last is decoded.

    Raises:
        InputError: the file is not a video, ends before, or its frames are too many for the memory.
    """
    wanted, last = set(indices), max(indices)
    with open_track(path) as track:
        track.stream.thread_type = "AUTO"
        fps, held = track.fps, HeldFrames(path, len(indices))
        for place, frame in enumerate(track.frames()):
            if place in wanted:
                image = track.image(frame)
                held.add(each(image) if each else image)
            if place == last:
                break
        num_frames = track.num_decoded
    if num_frames <= last:
        raise ends_before(path, num_frames, last + 1)
    return Clip(held.array(), fps, num_frames)


def read_windows(
    path: Path, starts: Sequence[int], num_frames: int, each: Callable[[np.ndarray], np.ndarray]
) -> Iterator[tuple[int, np.ndarray]]:
    """Windows of a video that begin at ascending places, which are decoded once; one window is held at a time.

    Args:
        starts: frames counted from 0, each once.
        num_frames: of a window.
        each: what becomes of a frame before it is held; frames of no window do not come to it.
    Yields:
        A start and the frames of its window, (F, H, W, 3).
    Raises:
        InputError: the file is not a video, or ends before the last window does.
    """
    todo, held = deque(starts), deque[np.ndarray](maxlen=num_frames)
    with open_track(path) as track:
        track.stream.thread_type = "AUTO"
        for place, frame in enumerate(track.frames()):
            if not todo:
                return
            if place >= todo[0]:
                held.append(each(track.image(frame)))
            if place == todo[0] + num_frames - 1:
                yield todo.popleft(), np.stack(held)
        num_decoded = track.num_decoded
    if todo:
        raise ends_before(path, num_decoded, todo[-1] + num_frames)


def ends_before(path: Path, num_frames: int, needed: int) -> InputError:
    """The error that a video has fewer frames than are needed of it."""
    return InputError(f"ends after {num_frames} frames, of which {needed} are needed.", where=str(path))


def read_first_frame(source: Source) -> np.ndarray:
    """The first frame of a video, (H, W, 3) uint8; no more than that is decoded.

    Raises:
        InputError: the file is not a video, or has no frame.
    """
    if isinstance(source, GivenFrames):
        return source.frames_FHWC[0]
    with open_track(source) as track:
        return track.first_image()


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float) -> int:
    """Write frames as H.264 in mp4, whole or not at all, and return how many there were.

    The file names its colours: BT.709, or BT.601 below the sizes of HD.

    Args:
        frames: (H, W, 3) uint8 RGB each, taken one at a time, so a generator keeps memory bounded; even sizes.
        fps: frames per second.
    Raises:
        ValueError: there are no frames, or a size is odd.
    """
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError("a video needs at least one frame")
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f"yuv420p needs even sizes, not {width}x{height}")
    num_frames = 0
    options, colours = {"movflags": "+faststart"}, ColourConverter()
    with replacing(path) as temporary, _create(temporary, "mp4", **options) as container:
        # exact for whole rates and for the likes of 30000/1001
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        tag(stream.codec_context)
        # x264's macroblock tree reads memory it has not written for narrow pictures: equal frames, unequal files
        stream.options = {"crf": str(CRF), "x264-params": "mbtree=0"}
        for image in _chain(first, iterator):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(colours.to_yuv420p(frame)))
            num_frames += 1
        container.mux(stream.encode())
    return num_frames


def _create(path: Path, container: str, **options: str) -> Any:
    # the prefix keeps a name with a colon from being a protocol
    return av.open(f"file:{path}", mode="w", format=container, options=options)


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest
