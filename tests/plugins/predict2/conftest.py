"""Inputs for Predict2 tests, and a command line that takes a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import pytest

from cosmos_cli.testing import CommandResult, run_cosmos
from tests.clips import encode, moving_gradient


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    iio.imwrite(tmp_path / "picture.png", moving_gradient(1, 90, 160)[0])
    return tmp_path / "picture.png"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return encode(tmp_path / "clip.mp4", moving_gradient(12, 96, 160))


@pytest.fixture
def video2world() -> Callable[..., CommandResult]:
    """`cosmos predict2 video2world --model tiny` for a few frames and steps, unless options say otherwise."""

    def run(*arguments: object) -> CommandResult:
        quick: list[object] = ["--prompt", "The slope drifts on.", "--save-path", "out.mp4"]
        for option, value in (("--model", "tiny"), ("--num-frames", 9), ("--num-steps", 2)):
            if option not in arguments:
                quick += [option, value]
        return run_cosmos("predict2", "video2world", *quick, *arguments)

    return run
