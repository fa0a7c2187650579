"""Batches of one kind of video: the originals' files, what fails, and going on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.testing import CommandResult

Cosmos = Callable[..., CommandResult]
LINE = ("--model", "tiny", "--num_steps", 1, "--guidance", 0, "--json")


def batch(cosmos: Cosmos, kind: str, *rows: dict[str, Any] | str, more: tuple[object, ...] = ()) -> CommandResult:
    Path("rows.jsonl").write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return cosmos("predict1", kind, "--batch_input_path", "rows.jsonl", *LINE, *more)


def test_a_batch_makes_the_good_rows_and_goes_on_where_it_stopped(cosmos: Cosmos, picture: Path, clip: Path) -> None:
    rows: list[dict[str, Any] | str] = [
        {"prompt": "A bus.", "visual_input": str(clip), "num_input_frames": 9},
        {"prompt": "A bus.", "visual_input": "gone.mp4"},
        {"visual_input": str(picture)},
        {"prompt": "A tram.", "visual_input": str(picture), "seed": 3},
        {"prompt": "A tram.", "visual_input": str(picture), "num_input_frames": 9},
        "{",
    ]
    result = batch(cosmos, "video2world", *rows)
    assert result.exit_code == 1, result.stderr
    samples = {sample["index"]: sample for sample in result.json["samples"]}
    assert [samples[i]["status"] for i in range(6)] == ["done", "failed", "done", "done", "failed", "failed"]
    reasons = [" ".join(str(samples[i]["error"]).split()) for i in (1, 4)]
    assert "visual_input: gone.mp4 does not exist" in reasons[0]
    assert "is a still picture, but --num-input-frames 9 needs a video" in reasons[1]
    made = [f"{i}{end}" for i in (0, 2, 3) for end in (".json", ".mp4", ".txt")]
    assert sorted(path.name for path in Path("outputs").iterdir()) == sorted(
        [*made, "report.html", "rows.ledger.jsonl"]
    )
    assert Path("outputs/3.txt").read_text().startswith("A tram.")
    Path("outputs/3.mp4").unlink()
    again = batch(cosmos, "video2world", *rows)
    assert [s["status"] for s in again.json["samples"] if s["status"] != "failed"] == [
        "done before",
        "done before",
        "done",
    ]


def test_a_row_is_what_the_same_request_alone_is(cosmos: Cosmos) -> None:
    result = batch(cosmos, "text2world", {"prompt": "A road.", "seed": 1}, {"prompt": "A road.", "seed": 2})
    assert result.exit_code == 0, result.stderr
    alone = cosmos("predict1", "text2world", "--prompt", "A road.", "--seed", 2, *LINE)
    assert alone.exit_code == 0, alone.stderr
    assert Path("outputs/output.mp4").read_bytes() == Path("outputs/1.mp4").read_bytes()


def test_a_plan_of_a_batch_says_which_rows_are_wrong(cosmos: Cosmos) -> None:
    result = batch(cosmos, "text2world", {"prompt": "A road."}, {"prompt": ""}, more=("--plan",))
    assert result.exit_code == 0, result.stderr
    assert any("rows.jsonl line 2, prompt: must not be empty" in fault for fault in result.json["problems"])
    assert not Path("outputs").exists()


def test_weights_of_the_other_kind_are_wrong_for_every_row_before_anything_loads(cosmos: Cosmos, clip: Path) -> None:
    own = ("--diffusion_transformer_dir", TINY_ROOT / "nvidia/Cosmos-Predict1-Tiny-Text2World")
    result = batch(cosmos, "video2world", {"prompt": "A bus.", "visual_input": str(clip)}, more=own)
    assert result.exit_code == 2
    assert "it is a network of text2world" in " ".join(result.stderr.replace("│", " ").split())
    assert "Loading" not in result.stderr


def test_settings_of_the_run_cannot_differ_and_no_good_row_is_an_error(cosmos: Cosmos) -> None:
    result = batch(cosmos, "text2world", {"prompt": "A road.", "model_size": "7B", "visual_input": "a.png"})
    assert result.exit_code == 2
    text = " ".join(result.stderr.replace("│", " ").split())
    assert "model_size cannot differ from row to row" in text
    assert "visual_input" in text
