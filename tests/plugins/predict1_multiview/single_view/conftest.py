"""Inputs for tests of Predict1 with one camera."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosmos_cli.media.image import write_png
from tests.clips import encode, moving_gradient


@pytest.fixture
def picture() -> Path:
    write_png(Path("street.png"), moving_gradient(1, 72, 96)[0])
    return Path("street.png")


@pytest.fixture
def clip() -> Path:
    return encode(Path("clip.mp4"), moving_gradient(12, 72, 96), fps=30)
