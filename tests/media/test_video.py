import struct
from pathlib import Path

import numpy as np
import pytest

from cosmos_cli.errors import InputError
from cosmos_cli.media.video import read_last_frames, read_video, read_windows, write_video
from tests.clips import encode, moving_gradient


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def test_a_written_video_comes_back_with_its_frames_size_and_rate(tmp_path: Path) -> None:
    frames = moving_gradient(23, 48, 64)
    assert write_video(tmp_path / "a.mp4", frames, fps=16) == 23
    clip = read_video(tmp_path / "a.mp4")
    assert clip.frames_FHWC.shape == frames.shape
    assert (clip.fps, clip.num_source_frames) == (16, 23)
    assert mean_difference(clip.frames_FHWC, frames) < 6


@pytest.mark.parametrize("fps", [10, 16, 23.976, 29.97])
def test_the_rate_survives(tmp_path: Path, fps: float) -> None:
    write_video(tmp_path / "a.mp4", moving_gradient(5, 32, 32), fps)
    assert read_video(tmp_path / "a.mp4").fps == pytest.approx(fps, rel=1e-4)


@pytest.mark.parametrize(("codec", "name"), [("libx265", "a.mp4"), ("libx264", "a.mkv"), ("libvpx-vp9", "a.webm")])
def test_codecs_and_containers_of_the_field_are_read(tmp_path: Path, codec: str, name: str) -> None:
    frames = moving_gradient(9, 64, 64)
    clip = read_video(encode(tmp_path / name, frames, codec=codec))
    assert clip.frames_FHWC.shape == frames.shape
    assert mean_difference(clip.frames_FHWC, frames) < 8


def test_the_last_frames_are_the_last(tmp_path: Path) -> None:
    frames = moving_gradient(30, 48, 64)
    clip = read_last_frames(encode(tmp_path / "a.mp4", frames), 5)
    assert clip.num_source_frames == 30
    assert mean_difference(clip.frames_FHWC, frames[-5:]) < 6
    assert mean_difference(clip.frames_FHWC, frames[-6:-1]) > mean_difference(clip.frames_FHWC, frames[-5:])


def test_a_short_clip_gives_what_it_has(tmp_path: Path) -> None:
    assert len(read_last_frames(encode(tmp_path / "a.mp4", moving_gradient(3, 32, 32)), 5).frames_FHWC) == 3


def test_a_phone_clip_stands_upright(tmp_path: Path) -> None:
    frames = moving_gradient(4, 48, 64)
    path = encode(tmp_path / "a.mp4", frames)
    data = path.read_bytes()
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    quarter_turn_clockwise = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    track = data.index(b"tkhd")
    assert upright in data[track:]
    path.write_bytes(data[:track] + data[track:].replace(upright, quarter_turn_clockwise, 1))
    clip = read_video(path)
    assert clip.frames_FHWC.shape == (4, 64, 48, 3)
    assert mean_difference(clip.frames_FHWC, np.rot90(frames, k=-1, axes=(1, 2))) < 8


def test_a_file_cut_short_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), dtype=np.uint8), 10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"truncated|cannot be read") as caught:
        read_video(path)
    assert caught.value.problems[0].where == str(path)


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100])
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a video"):
        read_video(tmp_path / "a.mp4")


def test_a_playlist_posing_as_a_clip_opens_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError):
        read_video(tmp_path / "a.mp4")


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    def frames():
        yield from moving_gradient(3, 32, 32)
        raise RuntimeError("the model broke")

    (tmp_path / "a.mp4").write_text("the video of yesterday")
    with pytest.raises(RuntimeError, match="the model broke"):
        write_video(tmp_path / "a.mp4", frames(), 10)
    assert [path.name for path in tmp_path.glob("*mp4*")] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "the video of yesterday"


@pytest.mark.parametrize("shape", [(0, 32, 32, 3), (2, 33, 32, 3), (2, 32, 31, 3)])
def test_what_yuv420p_cannot_hold_is_a_value_error(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"at least one frame|even sizes"):
        write_video(tmp_path / "a.mp4", np.zeros(shape, np.uint8), 10)
    assert not list(tmp_path.glob("*.mp4"))


def test_windows_are_parts_of_the_whole_video_and_only_their_frames_are_looked_at(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", moving_gradient(30, 16, 24))
    whole, seen = read_video(path).frames_FHWC, []

    def each(image: np.ndarray) -> np.ndarray:
        seen.append(image)
        return image

    starts = [2, 3, 12, 21]
    windows = dict(read_windows(path, starts, 4, each))
    assert list(windows) == starts
    assert all(np.array_equal(frames, whole[start : start + 4]) for start, frames in windows.items())
    assert len(seen) == 5 + 4 + 4
    with pytest.raises(InputError, match="ends after 30 frames, of which 31 are needed"):
        list(read_windows(path, [0, 27], 4, each))
