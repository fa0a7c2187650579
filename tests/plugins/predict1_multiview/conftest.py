"""Clips of six cameras for Predict1's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.clips import encode, moving_gradient


def six_views(name: str, num_frames: int, height: int = 48, width: int = 80) -> Path:
    """Six differing views of so many frames each, one after the other."""
    views = [np.roll(moving_gradient(num_frames, height, width), 11 * number, axis=2) for number in range(6)]
    return encode(Path(name), np.concatenate(views), fps=30)


@pytest.fixture
def views() -> Path:
    """Nine frames of each camera, as in the original's example."""
    return six_views("views.mp4", 9)
