"""The colours of video files: written ones name them, and in others they are what players take them for."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from cosmos_cli import output
from cosmos_cli.media.video import read_video, write_video
from tests.clips import encode, moving_gradient

RED = (200, 40, 40)
HD, SD = (720, 1280), (480, 704)
# as players show a video of these sizes that does not name its colours: ISO/IEC 23091-2
MATRICES = {1: Colorspace.ITU709, 6: Colorspace.ITU601}


def plain(size: tuple[int, int], colour: tuple[int, int, int] = RED) -> np.ndarray:
    return np.full((2, *size, 3), colour, np.uint8)


def encode_as(path: Path, size: tuple[int, int], matrix: Colorspace, said: int | None, *, full: bool = False) -> Path:
    """Red in YCbCr of a matrix, while the file names another one, or none."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        (stream.height, stream.width), stream.pix_fmt = size, "yuvj420p" if full else "yuv420p"
        stream.options = {"crf": "4"}
        if said is not None:
            stream.codec_context.colorspace = said
        if full:
            stream.codec_context.color_range = 2
        for image in plain(size):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(format=stream.pix_fmt, dst_colorspace=matrix, dst_color_range=2 if full else 1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def assert_red(image_HWC: np.ndarray) -> None:
    assert np.abs(image_HWC.astype(int) - RED).max() <= 3, image_HWC[0, 0]


@pytest.mark.parametrize(
    ("size", "matrix"), [(HD, 1), ((1280, 704), 1), ((704, 1280), 1), ((704, 960), 1), (SD, 6), ((96, 128), 6)]
)
def test_a_written_clip_names_its_colours_and_holds_them(tmp_path: Path, size: tuple[int, int], matrix: int) -> None:
    write_video(tmp_path / "a.mp4", plain(size), 24)
    with av.open(str(tmp_path / "a.mp4")) as container:
        said = container.streams.video[0].codec_context
        assert (said.colorspace, said.color_primaries, said.color_trc, said.color_range) == (matrix, 1, 1, 1)
        frame = next(container.decode(video=0))
        # what a player shows that obeys the name, whatever our reader does
        assert_red(frame.to_ndarray(format="rgb24", src_colorspace=MATRICES[matrix]))
    assert_red(read_video(tmp_path / "a.mp4").frames_FHWC)


@pytest.mark.parametrize("size", [HD, SD])
@pytest.mark.parametrize("said", [1, 6])
@pytest.mark.parametrize("full", [False, True])
def test_what_a_file_says_is_obeyed_at_any_size(tmp_path: Path, size: tuple[int, int], said: int, full: bool) -> None:
    path = encode_as(tmp_path / "a.mp4", size, MATRICES[said], said, full=full)
    assert_red(read_video(path).frames_FHWC)


@pytest.mark.parametrize(("size", "matrix"), [(HD, Colorspace.ITU709), (SD, Colorspace.ITU601)])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_file_that_says_nothing_is_read_as_players_show_it(
    tmp_path: Path, size: tuple[int, int], matrix: Colorspace, suffix: str
) -> None:
    assert_red(read_video(encode_as(tmp_path / f"a.{suffix}", size, matrix, None)).frames_FHWC)


def test_colours_that_need_no_matrix_are_left_alone(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        (stream.height, stream.width), stream.pix_fmt = HD, "bgr0"
        for image in plain(HD):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    assert (read_video(tmp_path / "a.mkv").frames_FHWC == RED).all()
    with av.open(str(tmp_path / "grey.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        (stream.height, stream.width), stream.pix_fmt = HD, "gray"
        for image in plain(HD, (77, 77, 77)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image[..., 0].copy(), format="gray")))
        container.mux(stream.encode())
    assert np.abs(read_video(tmp_path / "grey.mkv").frames_FHWC.astype(int) - 77).max() <= 1


@pytest.mark.parametrize(("transfer", "is_told"), [(16, True), (18, True), (1, False), (14, False)])
def test_a_clip_for_hdr_screens_is_read_with_a_note(tmp_path: Path, transfer: int, is_told: bool) -> None:
    output.configure(speaking=False)
    options = {"x265-params": f"log-level=0:colorprim=9:transfer={transfer}:colormatrix=9"}
    frames = moving_gradient(3, 64, 64)
    path = encode(tmp_path / "a.mp4", frames, codec="libx265", pix_fmt="yuv420p10le", **options)
    assert read_video(path).frames_FHWC.shape == (3, 64, 64, 3)
    assert read_video(path).num_source_frames == 3
    assert len(output.notices()) == is_told
    assert all(note.startswith("a.mp4 is made for screens of high dynamic range") for note in output.notices())
