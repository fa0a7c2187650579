"""One video on several devices, and on devices too small for the model: the same frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cosmos_cli.media.image import write_png
from cosmos_cli.media.video import read_video
from cosmos_cli.testing import CommandResult
from tests.clips import moving_gradient
from tests.third_party import run_script

LINE = ("predict2", "video2world", "--model", "tiny", "--device", "cpu", "--input-path", "a.png", "--prompt", "A bus.")
QUICK = ("--num-steps", 2, "--num-frames", 9)


@pytest.fixture
def picture() -> Path:
    write_png(Path("a.png"), moving_gradient(1, 72, 128)[0])
    return Path("a.png")


@pytest.mark.slow
def test_the_video_does_not_depend_on_the_number_of_processes(picture: Path) -> None:
    for name, options in {
        "alone": (),
        "cfg2": ("--num-gpus", 2),
        "cp4": ("--num-gpus", 4, "--parallel", "cp=4"),
    }.items():
        result = run_script(*LINE, *QUICK, *options, "--save-path", f"{name}.mp4", "--json")
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["video"] == f"{name}.mp4"
    alone = read_video(Path("alone.mp4")).frames_FHWC.astype(int)
    for name in ("cfg2", "cp4"):
        assert np.abs(read_video(Path(f"{name}.mp4")).frames_FHWC - alone).max() <= 2


def test_streamed_and_resident_weights_make_the_same_video(picture: Path, cosmos: Callable[..., CommandResult]) -> None:
    for name, options in {
        "plain": (),
        "offloaded": ("--offload-diffusion-transformer", "--offload-text-encoder"),
        "budget": ("--max-memory", "36MB"),
    }.items():
        result = cosmos(*LINE, *QUICK, *options, "--save-path", f"{name}.mp4")
        assert result.exit_code == 0, result.stderr
    assert "host memory" in result.stderr or "in blocks" in result.stderr
    assert Path("offloaded.mp4").read_bytes() == Path("plain.mp4").read_bytes()
    assert Path("budget.mp4").read_bytes() == Path("plain.mp4").read_bytes()
