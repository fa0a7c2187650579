"""Batches of scenes: the original's files, what fails, and going on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cosmos_cli.generation.cameras import CAMERAS
from cosmos_cli.testing import CommandResult
from tests.clips import encode, moving_gradient

Cosmos = Callable[..., CommandResult]
LINE = ("--model", "tiny", "--height", 32, "--width", 32, "--num-steps", 1, "--guidance", 0, "--json")


def batch(cosmos: Cosmos, *rows: dict[str, Any] | str, more: tuple[object, ...] = ()) -> CommandResult:
    Path("rows.jsonl").write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return cosmos("predict1-multiview", "batch", "rows.jsonl", *LINE, *more)


def test_a_batch_makes_the_good_rows_and_goes_on_where_it_stopped(cosmos: Cosmos, views: Path) -> None:
    encode(Path("odd.mp4"), moving_gradient(7, 48, 80))
    prompts = {camera.field: f"{camera.name}." for camera in CAMERAS}
    rows: list[dict[str, Any] | str] = [
        {**prompts, "visual_input": "views.mp4"},
        {"prompt": "A road.", "visual_input": "odd.mp4"},
        {"prompt": "A road."},
        {"prompt": "A road.", "visual_input": "views.mp4", "promt_left": "?"},
        {"prompt": "A road.", "visual_input": "views.mp4", "seed": 3},
        "{",
        {"prompt": "A road.", "visual_input": "damaged.mp4"},
    ]
    whole = encode(Path("damaged.mp4"), moving_gradient(24, 48, 80), movflags="faststart").read_bytes()
    Path("damaged.mp4").write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    result = batch(cosmos, *rows)
    assert result.exit_code == 1, result.stderr
    samples = {sample["index"]: sample for sample in result.json["samples"]}
    assert [samples[i]["status"] for i in range(7)] == ["done", *["failed"] * 3, "done", *["failed"] * 2]
    reasons = [" ".join(str(samples[i]["error"]).split()) for i in (1, 2, 3)]
    assert "visual_input: odd.mp4 has 7 frames, which do not divide among 6 cameras" in reasons[0]
    assert "visual_input: is missing, but the first row has it" in reasons[1]
    assert "Unknown field 'promt_left'" in reasons[2]
    assert result.stderr.index("damaged.mp4") < result.stderr.index("Loading tiny")
    made = [f"{i}{end}" for i in (0, 4) for end in (".json", ".mp4", ".txt", "_grid.mp4")]
    assert sorted(path.name for path in Path("outputs").iterdir()) == sorted(
        [*made, "report.html", "rows.ledger.jsonl"]
    )
    assert Path("outputs/0.txt").read_text().splitlines() == list(prompts.values())
    # what a row leaves out has its default
    assert Path("outputs/4.txt").read_text().splitlines()[1:] == [camera.sentence for camera in CAMERAS[1:]]
    Path("outputs/4_grid.mp4").unlink()
    again = batch(cosmos, *rows)
    assert [s["status"] for s in again.json["samples"] if s["status"] != "failed"] == ["done before", "done"]


def test_a_row_is_what_the_same_request_alone_is(cosmos: Cosmos, views: Path) -> None:
    rows = [{"prompt": "A road.", "seed": seed} for seed in (1, 2)]
    result = cosmos("predict1-multiview", "run", "--batch_input_path", _file(rows), *LINE)
    assert result.exit_code == 0, result.stderr
    alone = cosmos("predict1-multiview", "run", "--prompt", "A road.", "--seed", 2, *LINE)
    assert alone.exit_code == 0, alone.stderr
    assert Path("outputs/output.mp4").read_bytes() == Path("outputs/1.mp4").read_bytes()


def test_a_plan_of_a_batch_says_which_rows_are_wrong(cosmos: Cosmos) -> None:
    result = batch(cosmos, {"prompt": "A road."}, {"prompt": ""}, more=("--plan",))
    assert result.exit_code == 0, result.stderr
    assert any("rows.jsonl line 2, prompt: must not be empty" in fault for fault in result.json["problems"])
    assert not Path("outputs").exists()


def test_settings_of_the_run_cannot_differ_and_no_good_row_is_an_error(cosmos: Cosmos) -> None:
    result = batch(cosmos, {"prompt": "A road.", "model_size": "7B", "video_save_folder": "x"})
    assert result.exit_code == 2
    assert result.stderr.count("cannot differ from row to row") == 2


def _file(rows: list[dict[str, Any]]) -> Path:
    path = Path("rows.jsonl")
    path.write_text("\n".join(map(json.dumps, rows)))
    return path
