"""Which frames of a video file there are, which way up, and how wide: as a player shows them, everywhere alike."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from cosmos_cli.errors import InputError
from cosmos_cli.media.facts import read_facts
from cosmos_cli.media.video import Clip, read_first_frame, read_last_frames, read_video
from tests.clips import encode, moving_gradient
from tests.media.files import remuxed, turned, with_tracks

FRAMES = moving_gradient(24, 48, 64)


def agreed(path: Path) -> Clip:
    """The clip, whose facts say what reading gives."""
    facts, clip = read_facts(path), read_video(path)
    num_frames, height, width, _ = clip.frames_FHWC.shape
    assert (facts.num_frames, facts.height, facts.width) == (num_frames, height, width)
    assert clip.num_source_frames == num_frames
    assert read_last_frames(path, 5).num_source_frames == num_frames
    return clip


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.abs(a.astype(int) - b).mean() < 8)


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("hidden", [1, 9])
def test_frames_that_an_edit_list_hides_do_not_exist(tmp_path: Path, suffix: str, hidden: int) -> None:
    # of one key frame and with frames that refer to later ones, as cameras write them
    whole = encode(tmp_path / "whole.mp4", FRAMES, g="99", bf="3")
    clip = agreed(remuxed(whole, tmp_path / f"cut.{suffix}", hidden=hidden))
    assert same(clip.frames_FHWC, FRAMES[hidden:])


@pytest.mark.parametrize(
    ("codec", "name", "options"),
    [
        ("libx264", "a.ts", {}),
        ("libx264", "a.avi", {}),
        ("libx264", "a.mkv", {"x264-params": "open-gop=1:keyint=8"}),
        ("libx264", "a.mp4", {"movflags": "frag_keyframe+empty_moov", "g": "6"}),
        ("libvpx", "a.webm", {"auto-alt-ref": "1", "lag-in-frames": "16"}),  # has frames that are never shown
        ("libvpx-vp9", "a.webm", {"auto-alt-ref": "1", "lag-in-frames": "16"}),
        ("mpeg4", "a.avi", {"bf": "2"}),
        ("mpeg2video", "a.ts", {"bf": "2"}),
    ],
)
def test_every_container_has_as_many_frames_as_went_in(
    tmp_path: Path, codec: str, name: str, options: dict[str, str]
) -> None:
    assert agreed(encode(tmp_path / name, FRAMES, codec=codec, fps=24, **options)).num_source_frames == 24


def test_a_cut_before_a_key_frame_that_others_reach_back_over_loses_those(tmp_path: Path) -> None:
    whole = encode(
        tmp_path / "whole.mkv", FRAMES, codec="libx265", **{"x265-params": "open-gop=1:keyint=8:log-level=0"}
    )
    with av.open(str(whole)) as given, av.open(str(tmp_path / "cut.mkv"), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        packets = [packet for packet in given.demux(video=0) if packet.dts is not None]
        second = [number for number, packet in enumerate(packets) if packet.is_keyframe][1]
        for packet in packets[second:]:
            packet.stream = stream
            made.mux(packet)
    agreed(tmp_path / "cut.mkv")


def test_frames_of_uneven_length_are_each_one(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for number, image in enumerate(FRAMES):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number * number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert agreed(tmp_path / "a.mp4").num_source_frames == 24


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_counting_needs_no_decoding(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"a.{suffix}", FRAMES, bf="0")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    for packet in packets[-3:]:
        data = data.replace(packet, b"\xff" * len(packet))
    path.write_bytes(data)
    with contextlib.suppress(InputError):
        assert read_video(path).num_source_frames < 24
    assert read_facts(path).num_frames == 24


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((-1, 0, 0, 1), FRAMES[:, :, ::-1]),
        ((1, 0, 0, -1), FRAMES[:, ::-1]),
        ((-1, 0, 0, -1), FRAMES[:, ::-1, ::-1]),
        ((0, 1, 1, 0), FRAMES.transpose(0, 2, 1, 3)),
        ((0, 1, -1, 0), np.rot90(FRAMES, -1, axes=(1, 2))),
        ((0, -1, 1, 0), np.rot90(FRAMES, 1, axes=(1, 2))),
        ((0, -1, -1, 0), np.rot90(FRAMES.transpose(0, 2, 1, 3), 2, axes=(1, 2))),
    ],
)
def test_all_ways_to_turn_and_mirror(tmp_path: Path, matrix: tuple[int, int, int, int], expected: np.ndarray) -> None:
    clip = agreed(turned(encode(tmp_path / "a.mp4", FRAMES), *matrix))
    assert same(clip.frames_FHWC, expected)


@pytest.mark.parametrize(
    ("aspect", "size"), [((4, 3), (48, 85)), ((3, 4), (64, 64)), ((1, 1), (48, 64)), ((1, 9), (48, 64))]
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_pixels_become_square(tmp_path: Path, aspect: tuple[int, int], size: tuple[int, int], suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    encode(path, FRAMES, **{"x264-params": f"sar={aspect[0]}/{aspect[1]}"})
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(*aspect)
    assert agreed(path).frames_FHWC.shape == (24, *size, 3)


def test_wide_pixels_of_a_turned_video_are_tall(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", FRAMES, **{"x264-params": "sar=2/1"})
    assert agreed(turned(path, 0, 1, -1, 0)).frames_FHWC.shape == (24, 128, 48, 3)


SMALL, LARGE = moving_gradient(5, 32, 32), moving_gradient(7, 48, 64)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_of_several_tracks_the_default_one_counts(tmp_path: Path, suffix: str) -> None:
    for default, expected in ((0, SMALL), (1, LARGE)):
        path = with_tracks(tmp_path / f"{default}.{suffix}", SMALL, LARGE, default=default)
        assert same(agreed(path).frames_FHWC, expected)


def test_of_several_equal_tracks_the_largest_counts(tmp_path: Path) -> None:
    assert same(agreed(with_tracks(tmp_path / "a.ts", SMALL, LARGE)).frames_FHWC, LARGE)


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    cover = moving_gradient(1, 96, 96)
    path = with_tracks(tmp_path / "a.mp4", cover, SMALL, cover=0)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
    assert same(agreed(path).frames_FHWC, SMALL)


def test_sound_before_the_pictures_does_not_matter(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        sound, stream = container.add_stream("aac", rate=8000), container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 80000), np.float32), format="fltp", layout="mono")
        silence.rate = 8000
        container.mux(sound.encode(silence))
        for image in SMALL:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
        container.mux(sound.encode())
    assert same(agreed(tmp_path / "a.mp4").frames_FHWC, SMALL)


CUT = [("libx264", "a.mp4", {}), ("libx264", "a.mkv", {}), ("libvpx-vp9", "a.webm", {}), ("libx264", "a.ts", {})]
CUT += [("libx264", "f.mp4", {"movflags": "frag_keyframe+empty_moov", "g": "6"}), ("mpeg4", "a.avi", {})]
CUT += [("libx264", "s.mp4", {"movflags": "faststart"}), ("libx264", "a.mov", {})]


@pytest.mark.parametrize(("codec", "name", "options"), CUT, ids=lambda value: str(value))
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_what_was_cut_in_the_middle_is_refused(
    tmp_path: Path, codec: str, name: str, options: dict[str, str], share: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, FRAMES.shape, dtype=np.uint8)
    path = encode(tmp_path / name, noise, codec=codec, **options)
    data = path.read_bytes()
    agreed(path)
    size = int(share * len(data))
    path.write_bytes(data[: size + (size % 188 == 0)])
    for read in (read_facts, read_video):
        with pytest.raises(InputError, match="is truncated") as caught:
            read(path)
        assert caught.value.problems[0].where == str(path)


def test_a_recording_whose_writer_could_not_seek_back_is_whole(tmp_path: Path) -> None:
    class Pipe:
        def __init__(self) -> None:
            self.data = bytearray()

        def write(self, data: bytes) -> int:
            self.data += data
            return len(data)

    pipe = Pipe()
    with av.open(pipe, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for image in SMALL:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "a.mkv").write_bytes(pipe.data)
    assert agreed(tmp_path / "a.mkv").num_source_frames == 5


def test_titles_may_be_in_any_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Zurich"
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for image in SMALL:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"Zurich", "Zürich".encode("latin-1")))
    assert agreed(path).num_source_frames == 5


@pytest.mark.parametrize(
    "name",
    [
        *(
            "12:30.mp4",
            "file:x.mp4",
            "concat:a.mp4",
            "http:x.mp4",
            "%03d.mp4",
            "a b#?&.mp4",
            "pipe:0.mp4",
            "\udcff.mp4",
        ),
        *(
            "subfile,,start,0,end,9,,:x.mp4",
            "data:x.mp4",
            "-i.mp4",
            "a\nb.mp4",
            " x .mp4",
            "*[a-z]?{b}.mp4",
            "\x1b[2J.mp4",
        ),
        *(
            "crypto:x.mp4",
            "a|b.mp4",
            "'quoted'.mp4",
            "\\x.mp4",
            "ü" * 90 + ".mp4",
            "async:cache:x.mp4",
            "\udcff.mp4",
            "\x1b[2J.mp4",
        ),
    ],
)
def test_a_file_name_is_a_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from cosmos_cli.media.image import read_image, write_png
    from cosmos_cli.media.video import write_video

    monkeypatch.chdir(tmp_path)
    path = Path(name)
    write_video(path, SMALL, 10)
    assert [found.name for found in tmp_path.glob("*.mp4")] == [name]
    assert agreed(path).num_source_frames == 5
    write_png(path.with_suffix(".png"), SMALL[0])
    np.testing.assert_array_equal(read_image(path.with_suffix(".png")), SMALL[0])


@pytest.mark.parametrize("suffix", ["", ".jp2", ".dpx", ".%03d", ".ts", ".gif", ".m3u8", ".vob", ".x\udcff"])
def test_what_a_clip_is_shows_in_it_and_not_in_its_name(tmp_path: Path, suffix: str) -> None:
    from cosmos_cli.media.video import write_video

    write_video(tmp_path / "a.mp4", SMALL, 10)
    path = (tmp_path / "a.mp4").rename(tmp_path / f"a%03d{suffix}")
    assert agreed(path).num_source_frames == 5


LISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n",
    "hls with an absolute path": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {}\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT1S" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
    'bandwidth="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "smil": "<smil><body><video src='{}'/></body></smil>",
}


@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.mpd", "list.ffconcat", "list.ts"])
@pytest.mark.parametrize("kind", LISTS)
def test_a_list_of_other_files_opens_none_of_them(tmp_path: Path, kind: str, name: str) -> None:
    from cosmos_cli.media.video import write_video

    write_video(tmp_path / "other.mp4", SMALL, 10)
    target = "other.mp4" if kind in ("hls", "concat", "dash") else str(tmp_path / "other.mp4")
    (tmp_path / name).write_text(LISTS[kind].format(target))
    for read in (read_facts, read_video):
        with pytest.raises(InputError, match=r"cannot be read as a video|has no"):
            read(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html></html>", b"hello"])
@pytest.mark.parametrize("suffix", [".mp4", ".svg", ".srt", ".txt"])
def test_what_is_no_video_is_refused_in_a_line(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    for read in (read_facts, read_video):
        with pytest.raises(InputError, match=r"cannot be read as a video|has no|cannot be decoded here"):
            read(path)


def test_frames_larger_than_the_limit_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.gif", moving_gradient(2, 32, 32), codec="gif", pix_fmt="rgb8")
    data = bytearray(path.read_bytes())
    data[6:10] = (12000).to_bytes(2, "little") * 2
    path.write_bytes(data)
    for read in (read_facts, read_video):
        with pytest.raises(InputError, match="at most 120,000,000"):
            read(path)


def test_what_goes_with_a_frame_may_be_of_a_kind_that_is_not_known(tmp_path: Path) -> None:
    image = moving_gradient(1, 24, 32)[0]
    Image.fromarray(image).save(tmp_path / "picture.gif", "tiff")  # its EXIF has no name in PyAV
    np.testing.assert_array_equal(read_first_frame(tmp_path / "picture.gif"), image)
