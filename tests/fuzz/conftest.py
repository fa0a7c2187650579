"""The working folder of all examples."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from tests.clips import encode, moving_gradient


@pytest.fixture(autouse=True)
def here() -> Path:
    """The working folder, with a picture, a clip, a map and odd files."""
    folder = Path.cwd()
    iio.imwrite(folder / "picture.png", moving_gradient(1, 90, 160)[0])
    encode(folder / "clip.mp4", moving_gradient(9, 72, 96), fps=24)
    np.save(folder / "map.npy", np.full((72, 96), 0.5, np.float32))
    (folder / "good.json").write_text('{"edge": {"control_weight": 0.5}}')
    (folder / "empty").touch()
    (folder / "bytes.bin").write_bytes(bytes(range(256)))
    (folder / "folder").mkdir()
    (folder / "link.mp4").symlink_to("/etc/hostname")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    return folder
