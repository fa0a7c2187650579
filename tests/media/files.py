"""Odd files, made from ordinary ones."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_UPRIGHT = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def turned(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Have players of an mp4 move each point (x, y) to (a x + c y, b x + d y)."""
    data = path.read_bytes()
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    track = data.index(b"tkhd")
    assert _UPRIGHT in data[track:]
    path.write_bytes(data[:track] + data[track:].replace(_UPRIGHT, matrix, 1))
    return path


def remuxed(source: Path, path: Path, *, hidden: int = 0, **options: str) -> Path:
    """The packets of a video in another container; in mp4 and mov, an edit list hides the first `hidden` frames."""
    with av.open(str(source)) as given, av.open(str(path), "w", options=options) as made:
        old = given.streams.video[0]
        new = made.add_stream_from_template(old)
        shift = int(Fraction(hidden) / old.average_rate / old.time_base)
        for packet in given.demux(old):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, new
                made.mux(packet)
    return path


def with_tracks(path: Path, *tracks: np.ndarray, default: int | None = None, cover: int | None = None) -> Path:
    """Several tracks of frames (F, H, W, 3) in one file; one may be marked as default, one be a cover picture."""
    with av.open(str(path), "w") as container:
        streams = []
        for number, frames in enumerate(tracks):
            stream = container.add_stream("mjpeg" if number == cover else "libx264", rate=10)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuvj420p" if number == cover else "yuv420p"
            kinds = {default: av.stream.Disposition.default, cover: av.stream.Disposition.attached_pic}
            stream.disposition = kinds.get(number, av.stream.Disposition(0))
            streams.append(stream)
        for stream, frames in zip(streams, tracks, strict=True):
            for image in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    return path


def tiled_heic(path: Path, tile: np.ndarray) -> Path:
    """A picture of 2x2 equal tiles (H, W, 3), as phones write them."""
    height, width = tile.shape[:2]
    with av.open(str(path.with_suffix(".mp4")), "w") as container:
        stream = container.add_stream("libx265", rate=1)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"x265-params": "log-level=0:bframes=0"}  # a lone frame gets no times otherwise
        container.mux(stream.encode(av.VideoFrame.from_ndarray(tile, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(path.with_suffix(".mp4"))) as container:
        header = container.streams.video[0].codec_context.extradata
        content = bytes(next(container.demux(video=0)))
    path.with_suffix(".mp4").unlink()
    ids = range(2, 6)
    items = [struct.pack(">HH4s", 1, 0, b"grid")] + [struct.pack(">HH4s", number, 0, b"hvc1") for number in ids]
    size, whole = (struct.pack(">II", factor * width, factor * height) for factor in (1, 2))
    properties = _box(b"hvcC", header) + _full_box(b"ispe", size) + _full_box(b"ispe", whole)
    owners = struct.pack(">IHBB", 5, 1, 1, 3) + b"".join(struct.pack(">HBBB", number, 2, 0x81, 2) for number in ids)
    grid = struct.pack(">BBBBHH", 0, 0, 1, 1, 2 * width, 2 * height)
    start = _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")

    def meta(offset: int) -> bytes:
        # the grid lies in idat, the tiles behind all this
        places = struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(grid))
        places += b"".join(struct.pack(">HHHHII", number, 0, 0, 1, offset, len(content)) for number in ids)
        return _full_box(
            b"meta",
            _full_box(b"hdlr", bytes(4) + b"pict" + bytes(13))
            + _full_box(b"pitm", struct.pack(">H", 1))
            + _full_box(b"iloc", struct.pack(">BBH", 0x44, 0, 5) + places, version=1)
            + _full_box(
                b"iinf", struct.pack(">H", 5) + b"".join(_full_box(b"infe", item + b"\0", version=2) for item in items)
            )
            + _full_box(b"iref", _box(b"dimg", struct.pack(">HH4H", 1, 4, *ids)))
            + _box(b"iprp", _box(b"ipco", properties) + _full_box(b"ipma", owners))
            + _box(b"idat", grid),
        )

    offset = len(start) + len(meta(0)) + 8
    path.write_bytes(start + meta(offset) + _box(b"mdat", content))
    return path


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full_box(kind: bytes, content: bytes, *, version: int = 0) -> bytes:
    return _box(kind, bytes([version, 0, 0, 0]) + content)


def huge_png(path: Path, height: int, width: int) -> Path:
    """A black picture of many pixels in a small file."""

    compressor = zlib.compressobj(9)
    row = bytes(1 + width)
    rows = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b""))
    return path


def with_chunks(path: Path, *chunks: tuple[bytes, bytes]) -> Path:
    """A PNG with more chunks, kind and content, behind its header."""
    data = path.read_bytes()
    path.write_bytes(data[:33] + b"".join(_chunk(*chunk) for chunk in chunks) + data[33:])
    return path


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
