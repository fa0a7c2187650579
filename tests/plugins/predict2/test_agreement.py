"""Several processes make one video of one prompt: one of them asks and judges, and all use what it found."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosmos_cli.media.image import write_png
from cosmos_cli.media.video import read_video
from cosmos_cli.testing import run_cosmos
from tests.chat_models import chat_server, says
from tests.clips import moving_gradient
from tests.guardrails.plugins import LOG, Install, installing
from tests.third_party import run_script

LINE = ("predict2", "video2world", "--model", "tiny", "--device", "cpu", "--input-path", "a.png", "--prompt", "A bus.")
QUICK = ("--num-steps", 1, "--num-frames", 5)

guardrail = pytest.fixture(installing)


@pytest.fixture(autouse=True)
def picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    write_png(Path("a.png"), moving_gradient(1, 72, 128)[0])


@contextmanager
def changing_its_mind() -> Iterator[Any]:
    """A chat server that says something else each time."""
    numbers = count(1)
    with chat_server(lambda _: says(f"Bus number {next(numbers)} drives off.")) as server:
        yield server


def make(name: str, *options: object) -> subprocess.CompletedProcess[str]:
    return run_script(*LINE, *QUICK, *options, "--save-path", f"{name}.mp4")


def make_here(name: str, *options: object) -> None:
    """The same in this process, which is alone."""
    result = run_cosmos(*LINE, *QUICK, *options, "--save-path", f"{name}.mp4")
    assert result.exit_code == 0, result.stderr


def panels(text: str) -> int:
    return text.count("╭─")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_one_process_asks_the_refiner_and_the_video_is_of_its_answer() -> None:
    for name, options in {
        "alone": (),
        "cfg2": ("--num-gpus", 2),
        "cp2": ("--num-gpus", 2, "--parallel", "cp=2"),
    }.items():
        with changing_its_mind() as server:
            asking = ("--refiner-url", server.url, "--refiner-model", "a-model", *options)
            if options:
                made = make(name, *asking)
                assert made.returncode == 0, made.stderr
            else:
                make_here(name, *asking)
        assert len(server.requests) == 1
        sidecar = json.loads(Path(f"{name}.json").read_text())
        assert (sidecar["prompt_used"], sidecar["refined_by"]) == ("Bus number 1 drives off.", ["a-model"])
    assert Path("cfg2.mp4").read_bytes() == Path("alone.mp4").read_bytes()
    frames = {name: read_video(Path(f"{name}.mp4")).frames_FHWC.astype(int) for name in ("alone", "cp2")}
    assert np.abs(frames["cp2"] - frames["alone"]).max() <= 2  # sums of shared tokens round otherwise


@pytest.mark.slow
def test_an_error_of_the_process_that_asks_ends_all_with_its_panel(tmp_path: Path) -> None:
    with chat_server((401, b'{"error": {"message": "no such key"}}')) as server:
        made = make("out", "--refiner-url", server.url, "--num-gpus", 2)
    assert made.returncode == 1
    assert panels(made.stderr) == 1
    assert "rank 0: the chat server" in made.stderr
    assert len(server.requests) == 1
    assert not Path("out.mp4").exists()


RANK = 'int(__import__("os").environ.get("RANK", 0))'


@pytest.mark.slow
@pytest.mark.parametrize(("check", "blocking"), [("on_video", 0), ("on_prompt", 1)])
def test_a_guardrail_that_says_otherwise_in_each_process_is_asked_in_one(
    guardrail: Install, check: str, blocking: int
) -> None:
    otherwise = "pass" if check == "on_prompt" else "return frames_FHWC"
    answer = f"if {RANK} == {blocking}: raise ValueError('so it is')\n        {otherwise}"
    guardrail("moody", **{check: answer})
    made = make("out", "--num-gpus", 2, "--disable-prompt-refiner")
    assert made.returncode == (0 if blocking else 3), made.stderr
    assert panels(made.stderr) == (0 if blocking else 1)
    assert ("guardrail moody" in made.stderr) == (not blocking)
    assert Path("out.mp4").exists() == bool(blocking)
    assert LOG.read_text().splitlines() == ["A bus."]  # asked about once, by one


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_chunks_begin_with_what_one_process_checked_and_show_what_one_asked_for(guardrail: Install) -> None:
    guardrail("dark", on_video=f"return frames_FHWC // (2 + {RANK})")
    for name, options in {"alone": (), "cfg2": ("--num-gpus", 2)}.items():
        with changing_its_mind() as server:
            asking = ("--num-chunks", 2, "--refiner-url", server.url, *options)
            if options:
                made = make(name, *asking)
                assert made.returncode == 0, made.stderr
            else:
                make_here(name, *asking)
        sidecar = json.loads(Path(f"{name}.json").read_text())
        assert sidecar["prompts_of_chunks"] == ["Bus number 1 drives off.", "Bus number 2 drives off."]
        assert len(server.requests) == 2
    assert Path("cfg2.mp4").read_bytes() == Path("alone.mp4").read_bytes()


@pytest.mark.slow
def test_rows_of_a_batch_that_two_processes_share_are_blocked_or_made_alike(guardrail: Install) -> None:
    guardrail("moody", on_prompt=f"if ({RANK} == 0) == ('tram' in prompt): raise ValueError('so it is')")
    rows = [
        {"input_video": "a.png", "prompt": prompt, "output_video": f"{number}.mp4"}
        for number, prompt in enumerate(["A bus.", "A tram.", "A car."])
    ]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    line = ("predict2", "batch", "rows.jsonl", "--model", "tiny", "--device", "cpu", *QUICK, "--json")
    made = run_script(*line, "--num-gpus", 2, "--parallel", "cfg=2")
    assert made.returncode == 3, made.stderr
    document = json.loads(made.stdout)
    assert [row["status"] for row in document["samples"]] == ["done", "blocked", "done"]
    assert sorted(path.name for path in Path().glob("?.mp4")) == ["0.mp4", "2.mp4"]
