"""Batches of the Cosmos-1.0 diffusion models: what fails, and going on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cosmos_cli.testing import CommandResult

Cosmos = Callable[..., CommandResult]
LINE = ("--model", "tiny", "--num_steps", 1, "--guidance", 0, "--json")


def batch(cosmos: Cosmos, *rows: dict[str, Any], more: tuple[object, ...] = ()) -> CommandResult:
    Path("rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return cosmos("nemo", "batch", "rows.jsonl", *LINE, *more)


def test_a_batch_makes_the_good_rows_and_goes_on_where_it_stopped(cosmos: Cosmos, picture: Path, clip: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "Lifts.", "visual_input": str(clip), "num_input_frames": 9},
        {"prompt": "Lifts.", "visual_input": "gone.mp4"},
        {"prompt": "Lifts.", "conditioned_image_or_video_path": str(picture), "seed": 3, "subject_name": "arm"},
        {"prompt": "Lifts."},
        {"prompt": "Lifts.", "visual_input": str(clip), "video_save_path": "elsewhere.mp4"},
    ]
    result = batch(cosmos, *rows)
    assert result.exit_code == 1, result.stderr
    samples = {sample["index"]: sample for sample in result.json["samples"]}
    assert [samples[i]["status"] for i in range(5)] == ["done", "failed", "done", "failed", "failed"]
    reasons = [" ".join(str(samples[i]["error"]).split()) for i in (1, 3, 4)]
    assert "visual_input: gone.mp4 does not exist" in reasons[0]
    assert "has no input where the first row has one" in reasons[1]
    assert "video_save_path: cannot differ from row to row" in reasons[2]
    assert Path("outputs/2.txt").read_text() == "A video of sks arm. Lifts.\n"
    Path("outputs/2.mp4").unlink()
    again = batch(cosmos, *rows)
    assert [s["status"] for s in again.json["samples"] if s["status"] != "failed"] == ["done before", "done"]
    # a share has its own rows alone, and what the first row asks for holds for them too
    shared = batch(cosmos, *rows, more=("--share", "4/5"))
    assert [s["index"] for s in shared.json["samples"]] == [3]
    assert "has no input where the first row has one" in " ".join(shared.json["samples"][0]["error"].split())
    assert batch(cosmos, *rows, more=("--share", "6/6")).json["samples"] == []


def test_a_row_is_what_the_same_request_alone_is(cosmos: Cosmos) -> None:
    result = batch(cosmos, {"prompt": "A road.", "seed": 1}, {"prompt": "A road.", "seed": 2})
    assert result.exit_code == 0, result.stderr
    alone = cosmos("nemo", "run", "--prompt", "A road.", "--seed", 2, "--video_save_path", "alone.mp4", *LINE)
    assert alone.exit_code == 0, alone.stderr
    assert Path("alone.mp4").read_bytes() == Path("outputs/1.mp4").read_bytes()


def test_a_plan_of_a_batch_says_which_rows_are_wrong(cosmos: Cosmos) -> None:
    result = batch(cosmos, {"prompt": "A road."}, {"prompt": ""}, more=("--plan",))
    assert result.exit_code == 0, result.stderr
    assert any("rows.jsonl line 2, prompt: must not be empty" in fault for fault in result.json["problems"])
    assert not Path("outputs").exists()
