"""Small files that would become enormous, each read by a process that may take only so much more memory."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips import encode, moving_gradient
from tests.media.files import huge_png, with_chunks

READING = """
import resource, sys
from pathlib import Path
import cosmos_cli.media.held as held
from cosmos_cli.errors import InputError
from cosmos_cli.media.facts import read_facts
from cosmos_cli.media.image import read_image
from cosmos_cli.media.video import read_first_frame, read_last_frames, read_video

path, limit, free, call = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
if free:
    held.host_memory = lambda: (free, free)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + limit, -1))
try:
    print(eval(call))
except InputError as error:
    print("refused:", error)
"""


def outcome(path: Path, call: str, *, limit_bytes: int, free_bytes: int = 0) -> str:
    """What a call prints in a process that may take so much more memory than it has at first."""
    command = [sys.executable, "-W", "error", "-c", READING, str(path), str(limit_bytes), str(free_bytes), call]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert not said.stderr
    return said.stdout.strip()


def still(path: Path, num_frames: int, size: int) -> Path:
    """A black clip: one group of frames is encoded, and its packets are repeated."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height = stream.width = size
        stream.pix_fmt, stream.options = "yuv420p", {"g": "250", "bf": "0", "preset": "ultrafast"}
        black = np.zeros((size, size, 3), np.uint8)
        frames = [av.VideoFrame.from_ndarray(black, format="rgb24") for _ in range(250)]
        packets = [packet for frame in [*frames, None] for packet in stream.encode(frame)]
        contents = [(bytes(packet), packet.is_keyframe) for packet in packets]
        for number in range(num_frames):
            content, is_keyframe = contents[number % len(contents)]
            packet = av.Packet(content)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            packet.duration, packet.is_keyframe = 1, is_keyframe
            container.mux(packet)
    return path


def test_hours_of_black_are_refused_before_they_are_decoded_where_all_frames_are_needed(tmp_path: Path) -> None:
    path = still(tmp_path / "a.mp4", 100_000, 512)
    assert path.stat().st_size < 4_000_000
    said = outcome(path, "read_video(path)", limit_bytes=2**28, free_bytes=2**32)
    assert "has 100,000 frames, which take 78.6 GB of memory" in said
    assert "at most a third of what is free, 1.4 GB, is used" in said
    assert "ffmpeg -i CLIP -t 10" in said


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_frames_that_nothing_announces_are_refused_once_they_are_too_many(tmp_path: Path, name: str) -> None:
    path = still(tmp_path / name, 2000, 512)
    said = outcome(path, "read_video(path)", limit_bytes=2**29, free_bytes=3 * 10**8)
    assert "frames and more, which take 0.1 GB of memory" in said


def test_frames_that_are_kept_small_count_as_small(tmp_path: Path) -> None:
    path = still(tmp_path / "a.mp4", 1500, 512)
    call = "read_video(path, lambda image: image[:8, :8].copy()).frames_FHWC.shape"
    assert outcome(path, call, limit_bytes=2**28, free_bytes=3 * 10**8) == "(1500, 8, 8, 3)"


def test_frames_are_never_held_twice(tmp_path: Path) -> None:
    path = still(tmp_path / "a.mkv", 1000, 512)  # 786 MB
    call = "read_video(path).frames_FHWC.shape"
    assert outcome(path, call, limit_bytes=12 * 10**8) == "(1000, 512, 512, 3)"


@pytest.mark.parametrize(("call", "shape"), [("read_last_frames(path, 5).frames_FHWC.shape", (5, 512, 512, 3)),
                                             ("read_first_frame(path).shape", (512, 512, 3))])  # fmt: skip
def test_of_a_long_clip_only_the_frames_that_are_wanted_are_held(
    tmp_path: Path, call: str, shape: tuple[int, ...]
) -> None:
    path = still(tmp_path / "a.mkv", 1500, 512)
    assert outcome(path, call, limit_bytes=2**28) == str(shape)


def test_many_frames_in_a_moving_picture_are_refused(tmp_path: Path) -> None:
    one = encode(tmp_path / "one.gif", moving_gradient(2, 32, 32)[:1], codec="gif", pix_fmt="rgb8").read_bytes()
    start, frame = one.index(b"\x21\xf9"), one[one.index(b"\x21\xf9") : -1]
    header = bytearray(one[:start])
    header[6:10] = (3000).to_bytes(2, "little") * 2
    path = tmp_path / "many.gif"
    path.write_bytes(bytes(header) + frame * 500 + b";")
    said = outcome(path, "read_video(path)", limit_bytes=2**29, free_bytes=5 * 10**8)
    assert "frames and more" in said


@pytest.mark.parametrize("side", [8000, 16000])
def test_a_clip_whose_frames_become_huge_midway_is_refused(tmp_path: Path, side: int) -> None:
    small = huge_png(tmp_path / "small.png", 64, 64).read_bytes()
    huge = huge_png(tmp_path / "huge.png", side, side).read_bytes()
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "gray"
        for number, content in enumerate([small] * 5 + [huge] * 20):
            packet = av.Packet(content)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            packet.is_keyframe = True
            container.mux(packet)
    for call in ("read_video(path)", "read_last_frames(path, 1)"):
        said = outcome(path, call, limit_bytes=2**28)
        assert "a frame is damaged, or far larger than the clip says" in said
    assert outcome(path, "read_first_frame(path).shape", limit_bytes=2**28) == "(64, 64, 3)"


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP", b"many"])
def test_texts_that_swell_are_not_unpacked(tmp_path: Path, kind: bytes) -> None:
    start = b"a\0\1\0\0\0" if kind == b"iTXt" else b"a\0\0"
    if kind == b"many":
        chunks = [(b"zTXt", b"a%d\0\0" % number + zlib.compress(bytes(10**6), 9)) for number in range(300)]
    else:
        chunks = [(kind, start + zlib.compress(bytes(3 * 10**8), 9))]
    path = with_chunks(huge_png(tmp_path / "a.png", 16, 16), *chunks)
    assert "refused" in outcome(path, "read_image(path)", limit_bytes=2**28)


@pytest.mark.parametrize(("height", "width"), [(1, 5000), (5000, 1), (65, 1)])
def test_a_strip_that_no_frame_can_be_cut_from_is_refused(tmp_path: Path, height: int, width: int) -> None:
    path = huge_png(tmp_path / "a.png", height, width)
    assert f"is {width}x{height}: one side is more than 64 times the other" in outcome(
        path, "read_facts(path)", limit_bytes=2**28
    )


def test_a_list_of_frames_in_tiff_of_terabytes_is_refused(tmp_path: Path) -> None:
    tags = [(256, 4, 1, 2**20), (257, 4, 1, 2**20), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    tags += [(278, 4, 1, 2**20), (279, 4, 1, 2**31)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4))
    assert "at most 120,000,000" in outcome(tmp_path / "a.tif", "read_image(path)", limit_bytes=2**28)
