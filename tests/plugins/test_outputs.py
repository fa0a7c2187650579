"""What becomes of the files of a run: names, two at once, and a disk that is full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import pytest

from cosmos_cli.testing import CommandResult
from tests.clips import encode, moving_gradient

Run = Callable[..., CommandResult]

TINY = ("--model", "tiny", "--num-steps", 1)
NAMES = ["profile\0x", ".mp4", "..mp4", "x" * 260, "a\x1b[2J", ".hidden.mp4"]


@pytest.fixture(autouse=True)
def inputs() -> None:
    """A picture, a clip, and dotfiles that nobody may touch."""
    iio.imwrite("picture.png", moving_gradient(1, 90, 160)[0])
    encode(Path("clip.mp4"), moving_gradient(12, 96, 160))
    Path("spec.json").write_text('{"edge": {}}')
    for folder in (Path(), Path("outputs")):
        folder.mkdir(exist_ok=True)
        (folder / ".profile").write_text("mine")


def everything() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


@pytest.mark.parametrize("name", NAMES, ids=[ascii(name)[:12] for name in NAMES])
def test_what_no_file_may_be_called_is_refused_by_every_command_before_anything_loads(cosmos: Run, name: str) -> None:
    asked = ("--input-path", "picture.png", "--prompt", "It drifts.")
    transfer = ("--controlnet-specs", "spec.json", "--input-video-path", "clip.mp4")
    rows = {
        "predict2.jsonl": [{"input_video": "picture.png", "prompt": "It drifts.", "output_video": name}],
        "transfer.jsonl": [{"visual_input": "clip.mp4", "video_save_name": name}],
        "predict1.jsonl": [{"prompt": "A bus.", "video_save_name": name}],
    }
    for file, content in rows.items():
        Path(file).write_text("\n".join(map(json.dumps, content)))
    before = everything()
    lines: list[tuple[object, ...]] = [
        ("predict2", "video2world", *asked, "--save-path", name),
        ("predict2", "text2image", "--prompt", "A bus.", "--save-path", name.replace("mp4", "png")),
        ("predict2", "text2world", "--prompt", "A bus.", "--save-path", name),
        ("predict2", "batch", "predict2.jsonl"),
        ("predict1", "text2world", "--prompt", "A bus.", "--video-save-name", name),
        ("predict1", "text2world", "--batch-input-path", "predict1.jsonl"),
        ("nemo", "run", "--prompt", "A bus.", "--video-save-path", name),
        ("nemo", "batch", "predict1.jsonl"),
        ("predict1-multiview", "run", "--prompt", "A bus.", "--video-save-name", name),
        ("predict1-multiview", "batch", "predict1.jsonl"),
        ("transfer", "run", *transfer, "--video-save-name", name),
        ("transfer", "annotate", *transfer, "--video-save-name", name),
        ("transfer", "batch", "transfer.jsonl", "--controlnet-specs", "spec.json"),
    ]
    for line in lines:
        result = cosmos(*line, *([] if "annotate" in line else TINY))
        assert result.exit_code == 2, (line, result.stderr)
        assert "Bad input" in result.stderr
        assert "defect" not in result.stderr
        assert "Loading" not in result.stderr
    assert everything() == before
    assert Path(".profile").read_text() == Path("outputs/.profile").read_text() == "mine"


def test_a_row_with_such_a_name_costs_only_itself(cosmos: Run) -> None:
    rows = [
        {"input_video": "picture.png", "prompt": "It drifts.", "output_video": name}
        for name in ("good.mp4", "x" * 251 + ".mp4", "profile\0x.mp4")
    ]
    Path("rows.json").write_text(json.dumps(rows))
    result = cosmos("predict2", "batch", "rows.json", *TINY, "--num-frames", 5, "--json")
    # the second fits, but what goes with it does not
    assert [sample["status"] for sample in result.json["samples"]] == ["done", "failed", "failed"]
    assert Path("good.mp4").exists()


def test_the_longest_name_and_one_like_an_address_are_made(cosmos: Run) -> None:
    for name in ("x" * 250 + ".mp4", "file:12:30.mp4", "concat:a|b.mp4", "-a %03d.mp4"):
        line = ("predict2", "video2world", "--input-path", "picture.png", "--prompt", "It drifts.", *TINY)
        result = cosmos(*line, "--num-frames", 5, f"--save-path={name}")
        assert result.exit_code == 0, result.stderr
        assert Path(name).exists()
        assert Path(name).with_suffix(".json").exists()
        again = cosmos(*line, "--from-file", Path(name).with_suffix(".json"), "--num-frames", 5)
        assert again.exit_code == 2
        assert "exists already" in again.stderr


def test_what_is_there_is_told_of_once_and_numbered_goes_past_it(cosmos: Run) -> None:
    line = (
        "predict2",
        "video2world",
        "--input-path",
        "picture.png",
        *TINY,
        "--num-frames",
        1,
        "--save-path",
        "a.b.mp4",
    )
    for name in ("a.b.mp4", "a.b.json", "a.b-2.png"):
        Path(name).touch()
    wrong = cosmos(*line, "--num-conditional-frames", 5, "--json")
    assert (wrong.exit_code, len(wrong.json["problems"])) == (2, 2)
    assert wrong.json["problems"][0]["what"] == "a.b.mp4 exists already, with a.b.json beside it."
    assert "is a still picture" in wrong.json["problems"][1]["what"]
    made = cosmos(*line, "--numbered", "--json")
    assert made.json["video"] == "a.b-3.mp4"
    assert json.loads(Path("a.b-3.json").read_text())["request"]["save_path"].endswith("a.b-3.mp4")
    again = cosmos(*line, "--numbered", "--plan", "--json")
    assert again.json["request"]["output"] == "a.b-4.mp4"
    Path("batch.json").write_text("[{}]")
    assert "--numbered" in cosmos("predict2", "video2world", "--batch", "batch.json", "--numbered").stderr


@pytest.mark.parametrize(
    "line",
    [
        ("transfer", "run", "--controlnet-specs", "spec.json", "--input-video-path", "clip.mp4"),
        ("nemo", "run", "--prompt", "A bus.", "--video-save-path", "outputs/output.mp4"),
        ("predict1", "text2world", "--prompt", "A bus."),
        ("predict1-multiview", "run", "--prompt", "A bus."),
        ("predict2", "text2image", "--prompt", "A bus.", "--save-path", "outputs/output.png"),
        ("predict2", "text2world", "--prompt", "A bus.", "--save-path", "outputs/output"),
    ],
)
def test_every_command_that_makes_one_output_numbers_it(cosmos: Run, line: tuple[str, ...]) -> None:
    Path("outputs/output.json").touch()
    planned = cosmos(*line, *TINY, "--numbered", "--plan", "--json")
    assert Path(planned.json["request"]["output"]).with_suffix("") == Path("outputs/output-2")


def test_a_broken_input_is_told_of_beside_an_output_that_is_there(cosmos: Run) -> None:
    Path("outputs/output.mp4").touch()
    Path("clip.mp4").write_text("no clip")
    line = ("transfer", "run", "--controlnet-specs", "spec.json", "--input-video-path", "clip.mp4", *TINY)
    wrong = cosmos(*line, "--json").json["problems"]
    assert [problem["where"] for problem in wrong] == ["--video-save-folder", "clip.mp4"]


def test_two_runs_at_once_with_one_output_make_one_video(cosmos: Run) -> None:
    line = ["predict2", "video2world", "--input-path", "picture.png", "--prompt", "It drifts.", *map(str, TINY)]
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "cosmos_cli",
                *line,
                "--num-frames",
                "5",
                "--save-path",
                "o.mp4",
                "--seed",
                str(seed),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    said = [process.communicate(timeout=120)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 2], said
    winner = codes.index(0)
    assert "is making it" in said[1 - winner] or "exists already" in said[1 - winner]
    assert json.loads(Path("o.json").read_text())["request"]["seed"] == winner + 1
    assert not list(Path().glob(".cosmos-*"))


FULL = """
import resource, sys
from cosmos_cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main.run(sys.argv[2:]))
"""


@pytest.mark.parametrize("num_bytes", [100, 1500, 4000])
def test_a_video_that_does_not_fit_is_told_with_its_bytes_and_nothing_of_it_stays(num_bytes: int) -> None:
    """The encoder writes by itself, past Python: a limit on the size of files is as near as it gets to a full disk."""
    before = everything()
    line = ["predict2", "video2world", "--input-path", "picture.png", "--prompt", "It drifts.", *map(str, TINY)]
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(num_bytes), *line, "--num-frames", "5", "--save-path", "o.mp4"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COSMOS_CACHE_DIR": "elsewhere"},
        timeout=120,
    )
    assert result.returncode == 1, result.stderr
    assert "Disk full" in result.stderr
    assert "o.mp4" in result.stderr
    assert "bytes are free there" in " ".join(result.stderr.replace("│", " ").split())
    assert [name for name in everything() if not name.startswith("elsewhere")] == before
