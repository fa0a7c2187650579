"""Inputs for tests of the Cosmos-1.0 diffusion models."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosmos_cli.media.image import write_png
from tests.clips import encode, moving_gradient


@pytest.fixture
def picture() -> Path:
    write_png(Path("arm.png"), moving_gradient(1, 72, 96)[0])
    return Path("arm.png")


@pytest.fixture
def clip() -> Path:
    return encode(Path("arm.mp4"), moving_gradient(12, 72, 96), fps=30)
