"""Batches as a user runs them: kills, resumes, bad rows, and the same files as single runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli.testing import CommandResult, run_cosmos
from tests.clips import encode, moving_gradient
from tests.kills import killed_again_and_again

COSMOS = str(Path(sysconfig.get_path("scripts")) / "cosmos")
COMMON = ("--controlnet-specs", "spec.json", "--model", "tiny", "--num-steps", 1, "--guidance", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with eight clips and a specification that blurs and draws edges."""
    here = Path.cwd()
    for i in range(8):
        encode(
            here / f"clip{i}.mp4",
            moving_gradient(5 + i, 72, 96)[:, :, ::-1] if i % 2 else moving_gradient(5 + i, 72, 96),
        )
    (here / "spec.json").write_text(json.dumps({"edge": {"control_weight": 0.5}, "vis": {"control_weight": 0.5}}))
    return here


def write(*rows: Any, name: str = "rows.jsonl") -> str:
    Path(name).write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return name


def rows_of(count: int) -> list[dict[str, Any]]:
    return [{"visual_input": f"clip{i}.mp4", "prompt": f"Scene {i}."} for i in range(count)]


def videos(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.mp4"))}


def test_a_batch_makes_what_single_runs_make(folder: Path, cosmos: Callable[..., CommandResult]) -> None:
    rows = write(*rows_of(3))
    result = cosmos("transfer", "batch", rows, *COMMON, "--video-save-folder", "many", "--json")
    assert result.exit_code == 0, result.stderr
    samples = result.json["samples"]
    assert [sample["status"] for sample in samples] == ["done"] * 3
    assert [sample["result"]["num_frames"] for sample in samples] == [5, 6, 7]
    for i in range(3):
        line = ("--input-video-path", f"clip{i}.mp4", "--prompt", f"Scene {i}.", "--video-save-folder", "one")
        single = cosmos("transfer", "run", *COMMON, *line, "--video_save_name", f"video_{i}")
        assert single.exit_code == 0, single.stderr
    assert videos("many") == videos("one")
    page = Path(result.json["report"]).read_text()
    for i in range(3):
        assert f'href="video_{i}.mp4"' in page and f'href="../clip{i}.mp4"' in page and f"Scene {i}." in page
    sidecar = json.loads(Path("many/video_1.json").read_text())
    assert sidecar["prompt_used"] == "Scene 1."
    again = cosmos("transfer", "run", "--from-file", "many/video_1.json", "--video-save-folder", "again")
    assert again.exit_code == 0, again.stderr
    assert Path("again/video_1.mp4").read_bytes() == Path("many/video_1.mp4").read_bytes()


def test_a_second_run_loads_nothing_and_changes_nothing(folder: Path, cosmos: Callable[..., CommandResult]) -> None:
    rows = write(*rows_of(2))
    line = ("transfer", "run", "--batch_input_path", rows, *COMMON)
    assert cosmos(*line).exit_code == 0
    times = {path: path.stat().st_mtime_ns for path in Path("outputs").glob("*.mp4")}
    second = cosmos(*line, "--json")
    assert [sample["status"] for sample in second.json["samples"]] == ["done before"] * 2
    assert "Loading tiny" not in second.stderr
    assert {path: path.stat().st_mtime_ns for path in Path("outputs").glob("*.mp4")} == times


def test_overrides_of_a_row_change_only_its_controls(folder: Path, cosmos: Callable[..., CommandResult]) -> None:
    encode(folder / "edges.mp4", moving_gradient(5, 72, 96))
    rows = write(
        {"visual_input": "clip0.mp4"},
        {
            "visual_input": "clip0.mp4",
            "control_overrides": {"edge": {"input_control": "edges.mp4"}, "vis": {"control_weight": 0}},
        },
        {"visual_input": "clip0.mp4", "control_overrides": {"depth": {"control_weight": 1}}, "seed": 7},
    )
    result = cosmos("transfer", "batch", rows, *COMMON, "--json")
    assert result.exit_code == 0, result.stderr
    first, second, third = (json.loads(Path(f"outputs/video_{i}.json").read_text())["request"] for i in range(3))
    assert first["controls"]["edge"]["input_control"] is None
    assert second["controls"]["edge"]["input_control"].endswith("edges.mp4")
    assert second["controls"]["vis"]["control_weight"] == 0
    assert third["controls"].keys() == first["controls"].keys()
    assert third["seed"] == 7
    assert "no control 'depth'" in result.stderr
    assert sorted(path.name for path in Path("outputs").glob("video_1*")) == ["video_1.json", "video_1.mp4"]


def test_bad_rows_are_named_first_and_the_good_ones_finish(folder: Path, cosmos: Callable[..., CommandResult]) -> None:
    good = rows_of(6)
    (folder / "text.mp4").write_text("not a video")
    # its headers and its first frame are good
    whole = encode(folder / "damaged.mp4", moving_gradient(12, 72, 96), movflags="faststart").read_bytes()
    (folder / "damaged.mp4").write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    wrong = [{"visual_input": f"{name}.mp4"} for name in ("gone", "text", "damaged")]
    rows = write(*good[:2], wrong[0], *good[2:5], wrong[1], good[5], wrong[2])
    result = cosmos("transfer", "batch", rows, *COMMON, "--json")
    assert result.exit_code == 1
    samples = result.json["samples"]
    assert [sample["status"] for sample in samples] == [
        "done",
        "done",
        "failed",
        "done",
        "done",
        "done",
        "failed",
        "done",
        "failed",
    ]
    assert "gone.mp4 does not exist" in samples[2]["error"]
    assert samples[2]["place"] == "rows.jsonl line 3"
    assert "text.mp4" in samples[6]["error"]
    assert "damaged.mp4" in samples[8]["error"]
    assert len(videos("outputs")) == 6 * 3  # output, edge and vis each
    for name in ("gone.mp4", "damaged.mp4"):
        assert result.stderr.index(name) < result.stderr.index("Loading tiny")
    table = cosmos("transfer", "batch", rows, *COMMON)
    assert "6 of 9 done, 3 failed" in table.stdout


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{oops", "is not JSON"),
        ([1], "is not a JSON object"),
        ({"prompt": "A."}, "visual_input: is required"),
        ({"visual_input": "clip0.mp4", "promt": "A."}, "Did you mean 'prompt'?"),
        ({"visual_input": "clip0.mp4", "seed": -1}, "seed: must be >= 0"),
        ({"visual_input": "clip0.mp4", "video_save_name": "../up"}, "must be a name without folders"),
        ({"visual_input": "clip0.mp4", "video_save_name": "/etc/x"}, "must be a name without folders"),
        ({"visual_input": "clip0.mp4", "video_save_name": ".."}, "must be a name without folders"),
        ({"visual_input": "clip0.mp4", "video_save_folder": "/tmp"}, "cannot differ from row to row"),
        ({"visual_input": "clip0.mp4", "video_save_name": "video_0"}, "as rows.jsonl line 1 does"),
        ({"visual_input": "clip0.mp4", "control_overrides": {"edge": {"control_weight": 2}}}, "must be in [0, 1]"),
        ({"visual_input": "clip0.mp4", "control_overrides": [1]}, "must be an object such as"),
    ],
)
def test_every_kind_of_bad_row_is_explained(
    folder: Path, cosmos: Callable[..., CommandResult], row: Any, problem: str
) -> None:
    rows = write({"visual_input": "clip0.mp4"}, row)
    result = cosmos("transfer", "batch", rows, *COMMON, "--json")
    assert result.exit_code == 1
    assert "rows.jsonl line 2" in result.stderr
    assert problem in result.stderr
    assert [sample["status"] for sample in result.json["samples"]] == ["done", "failed"]


def test_a_file_without_a_good_row_runs_nothing(folder: Path, cosmos: Callable[..., CommandResult]) -> None:
    for content in ("", '{"visual_input": "gone.mp4"}\n{"visual_input": "lost.mp4"}'):
        Path("rows.jsonl").write_text(content)
        result = cosmos("transfer", "batch", "rows.jsonl", *COMMON)
        assert result.exit_code == 2
        assert "Loading" not in result.stderr
        assert not Path("outputs").exists()
    assert "gone.mp4" in result.stderr
    assert "lost.mp4" in result.stderr


@pytest.mark.slow
def test_a_batch_killed_at_random_moments_ends_with_the_same_files(folder: Path) -> None:
    rows = write(*rows_of(8))
    assert run_cosmos("transfer", "batch", rows, *COMMON, "--video-save-folder", "whole").exit_code == 0
    line = ["transfer", "batch", rows, *COMMON, "--video-save-folder", "killed"]
    # from before anything is loaded to well into the items
    ledger = Path("killed/rows.ledger.jsonl")
    assert killed_again_and_again(line, ledger, needs="cosmos_plugins.transfer1.pipeline") > 1
    finished = run_cosmos(*line)
    assert finished.exit_code == 0, finished.stderr
    assert videos("killed") == videos("whole")
    assert not [path for path in Path("killed").iterdir() if path.name.startswith(".")]


def test_ctrl_c_keeps_what_is_finished(folder: Path) -> None:
    rows = write(*rows_of(4))
    line = [sys.executable, "-u", COSMOS, "transfer", "batch", rows, *map(str, COMMON)]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    for text in process.stderr:
        if text.startswith("[2/4]"):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(60) == 130
    assert "Finished work is kept" in rest
    result = run_cosmos("transfer", "batch", rows, *COMMON, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.json["samples"][0]["status"] == "done before"
    assert len(videos("outputs")) == 4 * 3
