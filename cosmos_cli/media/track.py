"""The one picture track of a video file that counts: which it is, how long, and its frames as a player shows them."""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.media.colours import HDR, ColourConverter
from cosmos_cli.media.pixels import check_size
from cosmos_cli.media.whole import check_whole, has_fragments, truncated

# H and W pixel height and width, C = 3 colours

_NO_TRACK = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.dependent
_ONE_PACKET_A_FRAME = frozenset(
    {"av1", "dnxhd", "ffv1", "gif", "h264", "hevc", "huffyuv", "mjpeg", "png", "prores", "rawvideo", "vp8", "vp9"}
)
_MAX_PIXEL_ASPECT = 4
_USUAL_PX = 4096 * 2304
"""Pixels up to which a clip may change its size, as streams for changing lines do."""
_LOOKED_AT = 64
"""Packets at the start that show whether those of the whole track can be counted in place of its frames."""


@dataclass
class Track:
    """An open track. num_decoded: frames that were taken so far, also when an error ends it."""

    path: Path
    container: Any
    stream: Any
    num_decoded: int = 0
    _colours: ColourConverter = field(default_factory=ColourConverter)

    @property
    def fps(self) -> float:
        """Frames per second, 0 if nothing says it."""
        return float(self.stream.average_rate or self.stream.guessed_rate or 0)

    def frames(self) -> Iterator[Any]:
        """All frames that a player shows, as FFmpeg decodes them; `image` makes pictures of them."""
        # decoders make room for what a frame says of itself, one for each thread, before anybody sees the frame
        num_px = max(_padded(self.stream.codec_context), _USUAL_PX)
        self.stream.codec_context.options = {**self.stream.codec_context.options, "max_pixels": str(num_px)}
        for frame in self.container.decode(self.stream):
            self.num_decoded += 1
            yield frame

    def image(self, frame: Any) -> np.ndarray:
        """A frame as (H, W, 3) uint8 RGB, with square pixels and upright."""
        height, width = _square(frame.height, frame.width, _pixel_aspect(self.stream.sample_aspect_ratio))
        check_size(height, width, self.path)
        return _upright(self._colours.to_rgb(frame, height, width), frame)

    def first_image(self) -> np.ndarray:
        """The first frame. Raises InputError: there is none."""
        frame = next(self.frames(), None)
        if frame is None:
            raise no_frames(self.path)
        return self.image(frame)

    def indexed_frames(self) -> int | None:
        """Shown frames by the list at the head of an mp4 or mov, edits applied; None if there is no such list.

        Raises:
            InputError: frames of the list lie beyond the end of the file.
        """
        if "mp4" not in self.container.format.name or has_fragments(self.path):
            return None
        # PyAV shows the list since it needs Python 3.11
        shown = [entry for entry in getattr(self.stream, "index_entries", ()) if not entry.is_discard]
        if (end := max((entry.pos + entry.size for entry in shown), default=0)) > self.path.stat().st_size:
            raise truncated(f"frames are missing up to byte {end:,}", self.path)
        return len(shown) or None


@contextlib.contextmanager
def open_track(path: Path) -> Iterator[Track]:
    """The track of a video file that players show: the one marked as default, else the largest.

    Any container and codec of FFmpeg. A file name is one, whatever it looks like.

    Raises:
        InputError: the file is no video, has no such track, or was cut short; also from errors of FFmpeg in the block.
    """
    check_whole(path)
    track = None
    try:
        with _opened(path) as container:
            track = Track(path, container, _chosen(list(container.streams.video), path))
            _tell_of_hdr(track)
            yield track
    except (av.error.FFmpegError, OSError, MemoryError) as error:
        done = f" after {track.num_decoded} frames" if track is not None and track.num_decoded else ""
        reason, fix = _explained(error, is_open=track is not None)
        raise InputError(f"cannot be read as a video{done}: {reason}.", where=str(path), fix=fix) from error


def _tell_of_hdr(track: Track) -> None:
    if track.stream.codec_context.color_trc in HDR:
        output.notice(
            f"{track.path.name} is made for screens of high dynamic range (HDR) and is taken as if for ordinary ones, "
            "so it looks pale: a conversion to BT.709 looks as it should"
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        # FFmpeg gets no name that it could take for a protocol, a pattern or its own options; nothing that a playlist
        # posing as a clip names can be opened; titles may be in any encoding
        options = {"protocol_whitelist": "none"}
        with av.open(_Nameless(file, path), options=options, metadata_errors="replace", buffer_size=1 << 18) as opened:
            yield opened


class _Nameless:
    """A file of which FFmpeg is told the suffix alone, by which it knows formats that do not show otherwise."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell
        suffix = path.suffix[1:]
        self.name = f"file.{suffix}" if suffix.isascii() and suffix.isalnum() else "file"


def _explained(error: Exception, *, is_open: bool) -> tuple[str, str]:
    """Why a video cannot be read, and what to do."""
    number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
    if number == errno.ENOMEM:
        return "there is too little memory", "Free some memory, or scale the video down."
    if number == errno.EINVAL and is_open:
        return "a frame is damaged, or far larger than the clip says", "Is the file complete? Re-encode it."
    return getattr(error, "strerror", None) or type(error).__name__, "Is the file complete?"


def no_frames(path: Path) -> InputError:
    """The error that a video has no frames."""
    return InputError("has no frames.", where=str(path), fix="Is the file complete?")


def _padded(codec: Any) -> int:
    """Pixels of a frame with what codecs add at its edges."""
    return int((codec.height + 128) * (codec.width + 128))


def count_frames(path: Path) -> int:
    """Frames that a player shows. They are decoded only where neither a list of them nor their packets can be trusted.

    Raises:
        InputError: see `open_track`.
    """
    with open_track(path) as track:
        # what they say and not what they hold: a packet may be large
        demuxed = track.container.demux(track.stream)
        packets = (_Look.at(packet) for packet in demuxed if packet.size or packet.dts is not None)
        start = list(itertools.islice(packets, _LOOKED_AT))
        if _can_be_counted(start, track.stream):
            listed = track.indexed_frames()
            return listed if listed is not None else sum(look.is_shown for look in itertools.chain(start, packets))
    with open_track(path) as track:
        track.stream.thread_type = "AUTO"
        return sum(1 for _ in track.frames())


class _Look(NamedTuple):
    """What counts of a packet. pts: None where it has none, or is damaged or empty."""

    pts: int | None
    is_keyframe: bool
    is_shown: bool

    @classmethod
    def at(cls, packet: Any) -> _Look:
        # VP8 keeps pictures to predict from in packets of their own: a bit of the first byte says so
        is_vp8 = packet.stream.codec_context.name == "vp8"
        is_hidden = is_vp8 and packet.size and not memoryview(packet)[0] & 0x10
        pts = None if packet.is_corrupt or not packet.size else packet.pts
        return cls(pts, packet.is_keyframe, not packet.is_discard and not is_hidden)


def _can_be_counted(start: list[_Look], stream: Any) -> bool:
    """Whether each packet is one frame: no halves of interlaced ones, and none that lacks what it builds on."""
    if stream.codec_context.name not in _ONE_PACKET_A_FRAME or not start or not start[0].is_keyframe:
        return False
    times = [look.pts for look in start]
    if None in times:
        return False
    return min(times) == times[0] and len({*times}) == len(times)  # type: ignore[type-var]  # none of them is None


def _chosen(streams: list[Any], path: Path) -> Any:
    known = [stream for stream in streams if stream.codec_context is not None]
    if streams and not known:
        raise InputError(
            "is coded in a way that cannot be decoded here.", where=str(path), fix="Re-encode it, such as to H.264."
        )
    tracks = [stream for stream in known if not stream.disposition & _NO_TRACK]
    if not tracks and any(stream.disposition & Disposition.dependent for stream in streams):
        raise InputError(
            f"is a picture of {len(streams)} tiles, as phones make them (HEIC), which cannot be put together.",
            where=str(path),
            fix="Convert it to PNG or JPEG.",
        )
    if not tracks:
        what = "has no video track, only a cover picture." if streams else "has no video track."
        raise InputError(what, where=str(path), fix="Give a video file, such as an mp4.")
    marked = [stream for stream in tracks if stream.disposition & Disposition.default]
    chosen = max(marked or tracks, key=lambda stream: stream.codec_context.width * stream.codec_context.height)
    check_size(chosen.codec_context.height, chosen.codec_context.width, path)
    return chosen


def _pixel_aspect(said: Fraction | None) -> Fraction:
    """Width of a pixel over its height; what no camera has is taken for an error, and pixels for square."""
    aspect = Fraction(said or 1)
    return aspect if Fraction(1, _MAX_PIXEL_ASPECT) <= aspect <= _MAX_PIXEL_ASPECT else Fraction(1)


def _square(height: int, width: int, aspect: Fraction) -> tuple[int, int]:
    """The size with square pixels; the shorter side of a pixel is stretched, so that nothing is lost."""
    return (height, round(width * aspect)) if aspect >= 1 else (round(height / aspect), width)


def _upright(image_HWC: np.ndarray, frame: Any) -> np.ndarray:
    """Turned and mirrored as the file asks for, in quarter turns."""
    try:
        given = frame.side_data.get(SideData.DISPLAYMATRIX)
    except ValueError:  # PyAV lists nothing where there is a kind that it has no name for, such as EXIF
        return np.ascontiguousarray(np.rot90(image_HWC, round(frame.rotation / 90)))
    if given is None:
        return image_HWC
    # a point moves from (x, y) to (a x + c y, b x + d y)
    a, b, _, c, d = np.frombuffer(bytes(given), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        image_HWC, a, d = image_HWC.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image_HWC[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
