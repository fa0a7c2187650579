"""One video on several devices, and on devices too small for the model: the same frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cosmos_cli.media.video import read_video
from cosmos_cli.testing import CommandResult
from cosmos_plugins.predict1_multiview.text2world import inputs
from cosmos_plugins.predict1_multiview.text2world.requests import Text2WorldRequest, Text2WorldSettings
from tests.plugins.transfer1.budgets import budget_after
from tests.third_party import run_script

LINE = ("--model", "tiny", "--device", "cpu", "--num-steps", 2, "--prompt", "A road.")


def frames_of(name: str) -> np.ndarray:
    return read_video(Path(f"outputs/{name}.mp4")).frames_FHWC.astype(int)


@pytest.mark.slow
def test_the_video_does_not_depend_on_the_number_of_processes(clip: Path, cosmos: Callable[..., CommandResult]) -> None:
    line = ("predict1", "video2world", *LINE, "--input-image-or-video-path", clip, "--num-input-frames", 9)
    alone = cosmos(*line, "--video-save-name", "alone")
    assert alone.exit_code == 0, alone.stderr
    for name, options in {"cp2": ("--num-gpus", 2, "--parallel", "cp=2"), "cfg2": ("--num-gpus", 2)}.items():
        result = run_script(*line, *options, "--video-save-name", name, "--json")
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["video"] == f"outputs/{name}.mp4"
    for name in ("cp2", "cfg2"):
        # float32 adds up in another order; the codec may make one grey level of it
        assert np.abs(frames_of(name) - frames_of("alone")).max() <= 2
    assert json.loads(Path("outputs/cp2.json").read_text())["parallel"] == "cp=2"


def test_a_budget_changes_where_weights_lie_and_nothing_else(cosmos: Callable[..., CommandResult]) -> None:
    settings, request = Text2WorldSettings(model_size="tiny", device="cpu"), Text2WorldRequest(prompt="A road.")
    budget = budget_after(2, inputs, settings, request)
    for name, options in {"plain": (), "little": ("--max-memory", budget)}.items():
        result = cosmos("predict1", "text2world", *LINE, *options, "--video-save-name", name)
        assert result.exit_code == 0, result.stderr
    assert "in host memory while idle" in " ".join(result.stderr.split())
    assert Path("outputs/little.mp4").read_bytes() == Path("outputs/plain.mp4").read_bytes()
