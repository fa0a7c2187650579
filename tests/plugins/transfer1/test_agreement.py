"""Several processes make one video: one of them asks the upsampler and computes the controls, and all use them."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.testing import CommandResult
from cosmos_plugins.transfer1.checkpoints import control_file
from tests.chat_models import chat_server, says
from tests.third_party import run_script, write_distribution

LEVEL = """
import os
from cosmos_cli.hookspecs import hookimpl

@hookimpl
def cosmos_register_controls(register):
    register(name="level", help="One grey.", checkpoint="none.pt", compute="level_control:level")

def level(frames_FHWC, job):
    rank = os.environ.get("RANK", "0")
    with open("asked.txt", "a") as asked:
        asked.write(rank)
    frames_FHWC[:] = 80 + 90 * int(rank)
    return frames_FHWC
"""


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_video_has_the_controls_and_the_prompt_that_one_process_came_to(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cosmos: Callable[..., CommandResult]
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    packages = tmp_path / "packages"
    monkeypatch.syspath_prepend(packages)
    write_distribution(packages, "cosmos-level", {"level_control": LEVEL}, {"level": "level_control"})
    spec = {"level": {"ckpt_path": str(TINY_ROOT / control_file("edge"))}, "vis": {}, "input_video_path": str(clip)}
    Path("spec.json").write_text(json.dumps(spec))
    Path("rows.jsonl").write_text(json.dumps({"visual_input": str(clip)}))
    line = ("--model", "tiny", "--device", "cpu", "--controlnet-specs", "spec.json", "--num-steps", 1)
    several = ("--num-gpus", 2, "--parallel", "cfg=2")
    videos: list[list[bytes]] = []
    for name, start, options in (
        ("alone", ("run", "--video-save-name", "alone"), ()),
        ("run", ("run", "--video-save-name", "run"), several),
        ("video_0", ("batch", "rows.jsonl"), several),  # where another thread computes controls
    ):
        Path("asked.txt").unlink(missing_ok=True)
        numbers = count(1)
        with chat_server(lambda _, numbers=numbers: says(f"Street number {next(numbers)}.")) as server:
            asking = ("--upsample-prompt", "--upsampler-url", server.url, "--upsampler-model", "a-model")
            words = ("transfer", *start, *line, *options, *asking)
            if options:
                assert run_script(*words, path=packages).returncode == 0
            else:
                assert cosmos(*words).exit_code == 0
        sidecar = json.loads(Path(f"outputs/{name}.json").read_text())
        assert sidecar["prompt_used"] == "Street number 1."
        assert (len(server.requests), Path("asked.txt").read_text()) == (1, "0")
        files = [Path(f"outputs/{name}.mp4"), Path(sidecar["result"]["controls"]["level"])]
        videos.append([file.read_bytes() for file in files])
    assert videos == [videos[0]] * 3
