"""Whether a video file ends before its own headers say that it does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cosmos_cli.errors import InputError

_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"sidx", b"free", b"skip", b"wide", b"uuid", b"mfra"})
_BOXES_OF_FRAMES = frozenset({b"moov", b"moof", b"mdat"})
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_TS_SYNC, _TS_PACKETS = 0x47, (188, 192, 204)
_RIFF_SLACK = 16
"""Bytes by which sizes in AVI files are off without a frame missing."""


def check_whole(path: Path) -> None:
    """Refuse a clip that was cut short, where its container shows it: mp4 and mov, Matroska and WebM, AVI, MPEG-TS.

    Raises:
        InputError: bytes are missing, or the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(4096)
            end = _announced_end(file, start)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"cannot be read: {reason}.", where=str(path), fix="Check the file.") from error
    if end > size:
        raise truncated(f"{end - size:,} of its {end:,} bytes are missing", path)
    if _ends_within_packet(start, size):
        raise truncated("it ends within a packet of its transport stream", path)


def truncated(how: str, path: Path) -> InputError:
    """The error that a clip was cut short."""
    return InputError(
        f"is truncated: {how}.", where=str(path), fix="Copy or download the complete file, or re-encode what is there."
    )


def has_fragments(path: Path) -> bool:
    """Whether it is an mp4 whose frames are listed piece by piece, so that no one list names them all."""
    with path.open("rb") as file:
        return any(kind == b"moof" for kind, _ in _boxes(file))


def _announced_end(file: BinaryIO, start: bytes) -> int:
    """The byte at which the last part that holds frames ends; 0 where nothing says it."""
    if start[4:8] in _BOXES:
        return max((end for kind, end in _boxes(file) if kind in _BOXES_OF_FRAMES), default=0)
    if start[:4] == _EBML:
        return _segment_end(start)
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        num_bytes = int.from_bytes(start[4:8], "little")
        # a writer that could not seek back leaves 0 or the largest number
        return num_bytes + 8 - _RIFF_SLACK if 0 < num_bytes < 0x7FFFFFFF else 0
    return 0


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Kind and end of the boxes that follow each other in an mp4; what is no box known here ends them."""
    position = 0
    while True:
        file.seek(position)
        header = file.read(16)
        num_bytes, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if num_bytes == 1:
            num_bytes = int.from_bytes(header[8:16], "big")
        if kind not in _BOXES or num_bytes < 8:  # 0: until the end of the file
            return
        position += num_bytes
        yield kind, position


def _segment_end(start: bytes) -> int:
    """Where the one segment of a Matroska file ends; 0 if it was written without knowing."""
    size, position = _ebml_size(start, 4)
    position += size or 0
    if size is None or start[position : position + 4] != _SEGMENT:
        return 0
    size, position = _ebml_size(start, position + 4)
    return 0 if size is None else position + size


def _ebml_size(data: bytes, position: int) -> tuple[int | None, int]:
    """A size of one to eight bytes, None if it says unknown, and the position after it."""
    first = data[position] if position < len(data) else 0
    length = 9 - first.bit_length()
    if length > 8:
        return None, position
    bits = 7 * length
    value = int.from_bytes(data[position : position + length], "big") & ((1 << bits) - 1)
    return (None if value == (1 << bits) - 1 else value), position + length


def _ends_within_packet(start: bytes, size: int) -> bool:
    for length in _TS_PACKETS:
        # 192: a time of four bytes stands before each packet
        before = 4 if length == 192 else 0
        for first in range(before, length + before):
            syncs = start[first::length]
            if len(syncs) >= 4 and all(byte == _TS_SYNC for byte in syncs):
                return (size - first + before) % length != 0
    return False
