"""One video on several devices, and on devices too small for the model: the same frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cosmos_cli.media.video import read_video
from cosmos_cli.testing import CommandResult
from tests.third_party import run_script

LINE = ("nemo", "run", "--model", "tiny", "--device", "cpu", "--num-steps", 2, "--height", 32, "--width", 32)
LINE = (*LINE, "--prompt", "It lifts a box.", "--conditioned-image-or-video-path", "arm.mp4", "--num-input-frames", 9)


def frames_of(name: str) -> np.ndarray:
    return read_video(Path(f"{name}.mp4")).frames_FHWC.astype(int)


@pytest.mark.slow
def test_the_video_does_not_depend_on_the_number_of_processes(cosmos: Callable[..., CommandResult], clip: Path) -> None:
    alone = cosmos(*LINE, "--video-save-path", "alone.mp4")
    assert alone.exit_code == 0, alone.stderr
    shared = ("--num-devices", 2, "--cp-size", 2, "--parallel", "cp=2", "--video-save-path", "shared.mp4")
    result = run_script(*LINE, *shared)
    assert result.returncode == 0, result.stderr
    # float32 adds up in another order; the codec may make one grey level of it
    assert np.abs(frames_of("shared") - frames_of("alone")).max() <= 2


def test_where_weights_lie_changes_nothing(cosmos: Callable[..., CommandResult], clip: Path) -> None:
    plain = cosmos(*LINE, "--video-save-path", "plain.mp4")
    assert plain.exit_code == 0, plain.stderr
    offloaded = ("--offload-diffusion-transformer", "--offload-tokenizer", "--offload-text-encoder-model")
    result = cosmos(*LINE, *offloaded, "--video-save-path", "streamed.mp4")
    assert result.exit_code == 0, result.stderr
    assert "passing through in blocks" in " ".join(result.stderr.split())
    assert Path("streamed.mp4").read_bytes() == Path("plain.mp4").read_bytes()


def test_under_a_launcher_the_number_of_workers_is_its_own(
    cosmos: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    run = ("nemo", "run", "--model", "tiny", "--prompt", "a", "--device", "cpu")
    assert "sharing among 2 GPUs" in cosmos(*run, "--plan").stdout
    assert "torchrun started 2 workers" in cosmos(*run, "--num-devices", 3).stderr
    train = ("nemo", "post-train", "--factory", "tiny_text2world", "--device", "cpu")
    assert cosmos(*train, "--dry-run", "--json").json["global_batch_size"] == 2
