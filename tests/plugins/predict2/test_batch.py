"""Batches of Video2World: what single runs make, rows that are wrong, and starting again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli.media.video import read_video
from cosmos_cli.testing import CommandResult

Run = Callable[..., CommandResult]

COMMON = ("--model", "tiny", "--num-frames", 5, "--num-steps", 1)


@pytest.fixture
def rows(picture: Path, clip: Path) -> list[dict[str, Any]]:
    """The shape of the original's example: two pictures, named relative to the working folder."""
    Path("assets").mkdir()
    for number in (0, 1):
        Path(f"assets/input{number}.png").write_bytes(picture.read_bytes())
    clip.rename("assets/clip.mp4")
    return [
        {
            "input_video": f"assets/input{number}.png",
            "prompt": prompt,
            "output_video": f"output/{name}.mp4",
        }
        for number, (name, prompt) in enumerate([("bus", "The bus drives off."), ("snow", "Snow falls.")])
    ]


def write(rows: list[Any], name: str = "batch.json") -> Path:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows)))
    return Path(name)


def test_the_original_s_batch_file_makes_what_single_runs_make(cosmos: Run, rows: list[dict[str, Any]]) -> None:
    result = cosmos("predict2", "video2world", "--batch_input_json", write(rows), *COMMON, "--json")
    assert result.exit_code == 0, result.stderr
    assert [sample["status"] for sample in result.json["samples"]] == ["done", "done"]
    assert [sample["result"]["video"] for sample in result.json["samples"]] == ["output/bus.mp4", "output/snow.mp4"]
    assert (result.json["ledger"], result.json["report"]) == ("output/batch.ledger.jsonl", "output/report.html")
    assert result.stderr.count("Loading tiny") == 1
    for row in rows:
        line = ("--input-path", row["input_video"], "--prompt", row["prompt"], "--save-path", "single.mp4")
        assert cosmos("predict2", "video2world", *line, *COMMON, "--overwrite").exit_code == 0
        assert Path("single.mp4").read_bytes() == Path(row["output_video"]).read_bytes()
        sidecar = json.loads(Path(row["output_video"]).with_suffix(".json").read_text())
        assert sidecar["request"]["prompt"] == row["prompt"]


def test_a_batch_started_again_loads_nothing_and_a_changed_row_replaces_nothing_unasked(
    cosmos: Run, rows: list[dict[str, Any]]
) -> None:
    line = ("predict2", "batch", write(rows), *COMMON)
    assert cosmos(*line).exit_code == 0
    before = Path("output/bus.mp4").stat().st_mtime_ns
    again = cosmos(*line, "--json")
    assert [sample["status"] for sample in again.json["samples"]] == ["done before"] * 2
    assert "Loading tiny" not in again.stderr
    write([rows[0], rows[1] | {"seed": 3}])
    changed = cosmos(*line, "--json")
    assert [sample["status"] for sample in changed.json["samples"]] == ["done before", "failed"]
    assert "output/snow.mp4 exists already" in changed.json["samples"][1]["error"]
    assert cosmos(*line, "--device", "cpu", "--overwrite").exit_code == 0
    assert json.loads(Path("output/snow.json").read_text())["request"]["seed"] == 3
    assert Path("output/bus.mp4").stat().st_mtime_ns > before


def test_json_lines_inputs_beside_the_file_names_by_index_and_fields_of_a_request(
    cosmos: Run, rows: list[dict[str, Any]]
) -> None:
    path = write(
        [
            {"input_path": "input0.png", "num_frames": 1, "save_path": "named.mp4"},
            {"input_video": "assets/clip.mp4", "prompt": "On.", "num_conditional_frames": 5, "aspect_ratio": "1:1"},
        ],
        "assets/jobs.jsonl",
    )
    line = ("predict2", "batch", path, *COMMON, "--prompt", "Of all.", "--save-path", "ledgers/x.mp4", "--preview")
    assert cosmos(*line).exit_code == 0
    assert read_video(Path("named.mp4")).frames_FHWC.shape == (1, 64, 112, 3)
    assert read_video(Path("output_1.mp4")).frames_FHWC.shape == (5, 80, 80, 3)
    prompts = [json.loads(Path(name).read_text())["request"]["prompt"] for name in ("named.json", "output_1.json")]
    assert prompts == ["Of all.", "On."]
    assert Path("output_1.png").is_file()
    assert sorted(path.name for path in Path("ledgers").iterdir()) == ["jobs.ledger.jsonl", "report.html"]
    assert 'href="../named.mp4"' in Path("ledgers/report.html").read_text()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no prompt": ({"prompt": None}, "prompt: is required"),
    "no input": ({"input_video": None}, "input_video: is required"),
    "missing input": ({"input_video": "gone.png"}, "input_video: gone.png does not exist"),
    "picture for 5 frames": ({"num_conditional_frames": 5}, "input_video: assets/input0.png is a still picture"),
    "absolute output": ({"output_video": "/tmp/out.mp4"}, "shall: --output-root DIR."),
    "output above": ({"output_video": "output/../../out.mp4"}, "output_video: 'output/../../out.mp4' leads out"),
    "no mp4": ({"output_video": "out.gif"}, "output_video: out.gif does not end in .mp4."),
    "a setting": ({"fps": 10}, "fps: cannot differ from row to row"),
    "replacing": ({"overwrite": True}, "overwrite: cannot differ from row to row"),
    "two names": ({"save_path": "b.mp4"}, "output_video: is also given, as save_path"),
    "unknown": ({"promt": "x"}, "Unknown field 'promt'. Did you mean 'prompt'?"),
    "value": ({"guidance": -1, "seed": "x"}, "guidance: must be >= 0"),
    "unknown beyond": ({"zzz": 1}, "input_video, negative_prompt, num_chunks, num_conditional_frames, num_frames"),
    "taken": ({"output_video": "output/bus.mp4"}, "as batch.json entry 1 does"),
}


def test_wrong_rows_are_named_before_the_model_loads_and_cost_only_themselves(
    cosmos: Run, rows: list[dict[str, Any]]
) -> None:
    wrong = []
    for number, (changes, _) in enumerate(WRONG.values()):
        row = rows[0] | {"output_video": f"output/{number}.mp4"} | changes
        wrong.append({name: value for name, value in row.items() if value is not None})
    write([rows[0], *wrong, rows[1]])
    result = cosmos("predict2", "batch", "batch.json", *COMMON, "--json")
    assert result.exit_code == 1
    statuses = [sample["status"] for sample in result.json["samples"]]
    assert statuses == ["done", *["failed"] * len(WRONG), "done"]
    said = result.stderr.partition("Loading tiny")[0]
    for number, (_, words) in enumerate(WRONG.values(), start=2):
        assert re.search(rf"batch.json entry {number}[,:] .*{re.escape(words)}", said), f"{words}\n{said}"
    assert "entry 13, seed: must be a whole number" in said
    written = {str(path) for path in Path().rglob("*.mp4") if path.parent.name != "assets"}
    assert written == {"output/bus.mp4", "output/snow.mp4"}


def test_wrong_settings_are_said_once_and_without_a_good_row_nothing_runs(
    cosmos: Run, rows: list[dict[str, Any]]
) -> None:
    settings = cosmos("predict2", "batch", write(rows), *COMMON, "--num-gpus", 4, "--json")
    assert (settings.exit_code, len(settings.json["problems"])) == (2, 1)
    faults = cosmos("predict2", "batch", write([{}, 3]), *COMMON, "--json")
    assert faults.exit_code == 2
    assert [problem["where"] for problem in faults.json["problems"]] == [
        "batch.json entry 1, input_video",
        "batch.json entry 1, prompt",
        "batch.json entry 2",
    ]
    assert not Path("output").exists()


def test_rows_may_write_below_the_output_root_whatever_they_call_it(
    cosmos: Run, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    rows[0]["output_video"] = str(root / "deep" / "bus.mp4")
    rows[1] |= {"output_video": "snow.mp4", "prompt": ""}
    rows.append(rows[0] | {"output_video": str(tmp_path / "beside.mp4")})
    result = cosmos("predict2", "batch", write(rows), *COMMON, "--output-root", root, "--json")
    assert [sample["status"] for sample in result.json["samples"]] == ["done", "done", "failed"]
    assert {path.name for path in root.rglob("*.mp4")} == {"bus.mp4", "snow.mp4"}
    assert f"leads out of {root}, where rows may write" in result.json["samples"][2]["error"]
    assert result.stderr.count("the prompt is empty") == 1


def test_without_a_batch_the_input_is_required(cosmos: Run) -> None:
    result = cosmos("predict2", "video2world", "--model", "tiny", "--json")
    assert result.exit_code == 2
    assert [(problem["where"], problem["what"], problem["fix"]) for problem in result.json["problems"]] == [
        ("--input-path", "is required.", "Give --input-path."),
    ]
