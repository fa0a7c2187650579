"""Between the colours of a video file and RGB, as players understand them."""

from __future__ import annotations

from typing import Any

from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

# numbers of ISO/IEC 23091-2
_BT709, _UNSAID, _BT601 = 1, 2, 6
HDR = frozenset({16, 18})
"""Transfers of brightness that ordinary screens do not show: PQ and HLG."""


def is_hd(height: int, width: int) -> bool:
    """Whether players take a video of this size, in pixels, as BT.709 where it does not say; else it is BT.601."""
    return width >= 1280 or height > 576


class ColourConverter:
    """Converts the frames of one video, one at a time."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()  # kept, since each one prepares its tables anew

    def to_rgb(self, frame: Any, height: int, width: int) -> Any:
        """A frame of FFmpeg as (height, width, 3) uint8 RGB, by the colours that its file names."""
        source = None
        if frame.colorspace == _UNSAID and not frame.format.is_rgb and is_hd(frame.height, frame.width):
            source = Colorspace.ITU709
        return self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", src_colorspace=source
        ).to_ndarray()

    def to_yuv420p(self, frame: Any) -> Any:
        """An RGB frame as `tag` says that it is."""
        matrix = Colorspace.ITU709 if is_hd(frame.height, frame.width) else Colorspace.ITU601
        return self._reformatter.reformat(
            frame, format="yuv420p", dst_colorspace=matrix, dst_color_range=ColorRange.MPEG
        )


def tag(codec: Any) -> None:
    """Have an encoder name the colours of its video, whose size is set: no player has to guess."""
    codec.colorspace = _BT709 if is_hd(codec.height, codec.width) else _BT601
    # a matrix alone differs: red, green and blue are those of a screen, whatever the size
    codec.color_primaries = codec.color_trc = _BT709
    codec.color_range = ColorRange.MPEG
