from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import pytest

from cosmos_cli.errors import InputError
from cosmos_cli.media.facts import Facts, read_facts
from tests.clips import encode, moving_gradient


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "libx264"), ("clip.mkv", "libx264"), ("clip.webm", "libvpx")])
def test_a_video(tmp_path: Path, name: str, codec: str) -> None:
    path = encode(tmp_path / name, moving_gradient(30, 48, 64), codec=codec, fps=15)
    assert read_facts(path) == Facts(30, 48, 64, 15.0)


def test_a_picture(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "picture.png", moving_gradient(1, 48, 64)[0])
    assert read_facts(tmp_path / "picture.png") == Facts(1, 48, 64, 0.0)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match=r"clip\.mp4"):
        read_facts(tmp_path / "clip.mp4")
