"""Whole command lines with texts, files and names as users and their editors leave them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from cosmos_cli.testing import run_cosmos
from tests.clips import encode, moving_gradient

QUICK = ("--model", "tiny", "--num-frames", 5, "--num-steps", 1)
VIDEO = ("predict2", "video2world", *QUICK, "--input-path", "in.png", "--prompt", "A.", "--save-path", "out.mp4")
BATCH = ("predict2", "batch", *QUICK, "--save-path", "ledgers/x.mp4")
TRANSFER = ("transfer", "run", "--model", "tiny", "--num-steps", 1, "--input-video-path", "in.mp4")
MULTIVIEW = ("predict2", "multiview", "--model", "tiny", "--num-conditional-frames", 0, "--plan")

DIGITS = "9" * 5000


@pytest.fixture(autouse=True)
def inputs() -> None:
    iio.imwrite("in.png", moving_gradient(1, 90, 160)[0])
    encode(Path("in.mp4"), moving_gradient(9, 72, 96))


def sidecar(name: str = "out.json") -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(name).read_text(encoding="utf-8"))
    return document


def words(panel: str) -> str:
    return " ".join(panel.replace("│", " ").split())


def test_a_mark_at_the_beginning_of_a_request_a_batch_a_specification_and_a_prompt_is_not_there() -> None:
    Path("r.json").write_text(json.dumps({"seed": 7}), encoding="utf-8-sig")
    assert run_cosmos(*VIDEO, "--from-file", "r.json").exit_code == 0
    assert sidecar()["request"]["seed"] == 7
    row = {"input_video": "in.png", "prompt": "Ä.", "output_video": "row.mp4"}
    Path("rows.jsonl").write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8-sig")
    assert run_cosmos(*BATCH, "rows.jsonl").exit_code == 0
    assert sidecar("row.json")["request"]["prompt"] == "Ä."
    Path("spec.json").write_text('{"edge": {"control_weight": 0.5}}', encoding="utf-8-sig")
    assert run_cosmos(*TRANSFER, "--controlnet-specs", "spec.json", "--plan").exit_code == 0
    Path("prompt.txt").write_text("A car turns.\r\nnotes", encoding="utf-8-sig")
    line = ("predict2", "multiview", "--model", "tiny", "--num-conditional-frames", 0, "--num-steps", 1, "--n-views", 1)
    assert run_cosmos(*line, "--prompt", "prompt.txt", "--save-path", "views.mp4").exit_code == 0
    assert sidecar("views.json")["request"]["prompt"] == "A car turns."


def test_line_separators_inside_a_prompt_are_kept() -> None:
    prompt = "A.\u2028B.\u2029C.\x85D."
    rows = [{"input_video": "in.png", "prompt": prompt, "output_video": f"{n}.mp4"} for n in range(2)]
    Path("rows.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert run_cosmos(*BATCH, "rows.jsonl").exit_code == 0
    assert sidecar("1.json")["request"]["prompt"] == prompt


def test_pretty_printed_rows_are_one_error_and_one_pretty_printed_row_is_made() -> None:
    rows = [{"input_video": "in.png", "prompt": "A.", "output_video": f"{n}.mp4"} for n in range(2)]
    Path("rows.jsonl").write_text("\n".join(json.dumps(row, indent=2) for row in rows))
    result = run_cosmos(*BATCH, "rows.jsonl", "--json")
    assert (result.exit_code, len(result.json["problems"])) == (2, 1)
    assert "stretch over several lines" in result.json["problems"][0]["what"]
    Path("rows.jsonl").write_text(json.dumps(rows[0], indent=2))
    assert run_cosmos(*BATCH, "rows.jsonl").exit_code == 0
    assert Path("0.mp4").is_file()


def test_the_home_folder_is_meant_by_a_tilde_wherever_a_path_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path("home").absolute()
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("COSMOS_CHECKPOINT_DIR", "~/weights")
    for name in ("in.png", "in.mp4"):
        Path(name).rename(home / name)
    line = list(VIDEO)
    line[line.index("in.png")], line[line.index("out.mp4")] = "~/in.png", "~/out.mp4"
    result = run_cosmos(*line, "--preview", "--json")
    assert (result.exit_code, result.json["video"]) == (0, str(home / "out.mp4"))
    request = sidecar("home/out.json")["request"]
    assert (request["input_path"], request["checkpoint_dir"]) == (str(home / "in.png"), str(home / "weights"))
    (home / "rows.jsonl").write_text(json.dumps({"input_video": "~/in.png", "prompt": "A.", "output_video": "r.mp4"}))
    assert run_cosmos(*BATCH, "~/rows.jsonl").exit_code == 0
    below = {"input_video": "~/in.png", "prompt": "A.", "output_video": "~/made/r.mp4"}
    (home / "rows.jsonl").write_text(json.dumps(below))
    assert run_cosmos(*BATCH, "~/rows.jsonl").exit_code == 0
    assert (home / "made" / "r.mp4").exists()
    spec = {"edge": {"control_weight": 0.5, "input_control": "~/in.mp4"}, "input_video_path": "~/in.mp4"}
    (home / "spec.json").write_text(json.dumps(spec))
    line = ["transfer", "run", "--model", "tiny", "--num-steps", "1", "--controlnet-specs", "~/spec.json"]
    assert run_cosmos(*line, "--video-save-folder", "~/made").exit_code == 0
    request = sidecar("home/made/output.json")["request"]
    assert request["controls"]["edge"]["input_control"] == request["input_video_path"] == str(home / "in.mp4")
    assert run_cosmos("models", "--json").json["checkpoint_dir"] == str(home / "weights")
    assert not Path("~").exists()


def test_names_that_no_encoding_shows_cost_neither_video_nor_sidecar_and_come_back() -> None:
    name = os.fsdecode(b"caf\xe9")
    Path("in.png").rename(f"{name}.png")
    line = [str(argument) for argument in VIDEO]
    line[line.index("in.png")], line[line.index("out.mp4")] = f"{name}.png", f"{name}-out.mp4"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "cosmos_cli"]
    made = subprocess.run([*command, *line, "--json"], capture_output=True, env=environment, timeout=120)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["video"] == f"{name}-out.mp4"
    first = Path(f"{name}-out.mp4").read_bytes()
    again = run_cosmos("predict2", "video2world", "--from-file", f"{name}-out.json", "--overwrite")
    assert again.exit_code == 0, again.stderr
    assert Path(f"{name}-out.mp4").read_bytes() == first


def test_rows_out_of_a_pipe_are_made_and_found_again() -> None:
    rows = json.dumps({"input_video": "in.png", "prompt": "A.", "output_video": "r.mp4"})
    command = [sys.executable, "-m", "cosmos_cli", *map(str, BATCH), "/dev/stdin", "--json"]
    for status in ("done", "done before"):
        result = subprocess.run(command, input=rows, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stderr
        assert [sample["status"] for sample in json.loads(result.stdout)["samples"]] == [status]
    assert sorted(path.name for path in Path("ledgers").iterdir()) == ["pipe.ledger.jsonl", "report.html"]


HOSTILE: dict[str, bytes] = {
    "deep": b'{"prompt": ' + b"[" * 100_000,
    "digits": b'{"seed": ' + DIGITS.encode() + b"}",
    "NaN": b'{"guidance": NaN}',
    "infinite": b'{"guidance": 1e999}',
    "half a character": b'{"prompt": "\\ud800"}',
    "half a character in a key": b'{"\\ud800": 1}',
    "a byte of a name in a prompt": b'{"negative_prompt": "\\udce9"}',
    "twice": b'{"seed": 1, "seed": 2}',
    "a list": b'{"input_path": [], "save_path": {}, "negative_prompt": [], "seed": {}}',
    "booleans": b'{"seed": true, "num_conditional_frames": true, "negative_prompt": false}',
    "a sidecar's list": b'{"request": [1]}',
    "UTF-16": '{"seed": 1}'.encode("utf-16"),
    "Latin-1": b'{"negative_prompt": "caf\xe9"}',
    "long name of a field": b'{"' + b"x" * 100_000 + b'": 1}',
    "NUL": b'{"lora_path": "a\\u0000b"}',
    "long path": b'{"lora_path": "' + b"x" * 300 + b'"}',
    "memory": b'{"max_memory": "' + DIGITS.encode() + b'GiB"}',
    "device": b'{"device": "cuda:' + DIGITS.encode() + b'"}',
    "layout": b'{"num_gpus": 2, "parallel": "cp=' + DIGITS.encode() + b'"}',
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_json_is_bad_input_in_a_request_a_row_and_a_specification(case: str) -> None:
    Path("bad.json").write_bytes(HOSTILE[case])
    line = ("predict2", "video2world", "--model", "tiny", "--input-path", "in.png", "--prompt", "A.", "--plan")
    if case in ("deep", "half a character", "a list"):  # what the command line does not say
        line = ("predict2", "video2world", "--model", "tiny", "--plan")
    for command in (
        (*line, "--from-file", "bad.json"),
        (*BATCH, "bad.json"),
        (*TRANSFER, "--controlnet-specs", "bad.json"),
    ):
        result = run_cosmos(*command)
        assert result.exit_code == 2, result.stderr
        assert "defect" not in result.stderr
        assert result.stderr.count("╭") == 1
        assert len(result.stderr) < 5000
    assert not list(Path().rglob("*.mp4.json"))


def test_a_prompt_file_is_held_to_the_limit_of_prompts() -> None:
    Path("prompt.txt").write_text("A car turns. " * 2000 + "\n")
    result = run_cosmos(*MULTIVIEW, "--prompt", "prompt.txt")
    assert result.exit_code == 2
    assert "has 25,999 characters, more than the 5,000 that are allowed" in words(result.stderr)
    Path("prompt.txt").write_text("A car turns.\n" + "my notes " * 100_000)
    assert run_cosmos(*MULTIVIEW, "--prompt", "prompt.txt").exit_code == 0
    region = {"prompt": "A tree.", "mask_prompt": "x" * 5001}
    Path("spec.json").write_text(
        json.dumps({"edge": {"input_control_prompt": "x" * 5001}, "regional_prompts": [region]})
    )
    result = run_cosmos(*TRANSFER, "--controlnet-specs", "spec.json")
    assert words(result.stderr).count("has 5,001 characters") == 2


BOMBS = """
    import resource, sys
    from pathlib import Path
    from cosmos_cli.testing import run_cosmos
    import av, numpy, PIL.Image  # what checks of inputs import, so that it does not count
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (700 << 20),) * 2)
    for line in {lines!r}:
        result = run_cosmos(*line)
        assert result.exit_code == 2, (line, result.stderr)
        assert "defect" not in result.stderr, (line, result.stderr)
"""


def test_no_text_takes_more_memory_than_its_limit() -> None:
    Path("prompt.txt").write_text("A car turns. " * 1_700_000)
    with Path("sparse.json").open("wb") as file:
        file.truncate(1 << 40)
    with Path("actions.npy").open("wb") as array:
        np.lib.format.write_array_header_1_0(array, {"shape": (1 << 40, 7), "fortran_order": False, "descr": "<f8"})
        array.truncate(64 << 40 >> 4)
    action = ["predict2", "action", "--model", "tiny", "--input-video", "in.mp4", "--plan", "--input-annotation"]
    lines = [
        [*map(str, MULTIVIEW), "--prompt", "prompt.txt"],
        ["predict2", "video2world", "--model", "tiny", "--from-file", "/dev/zero"],
        ["predict2", "batch", "sparse.json", "--model", "tiny"],
        ["predict2", "batch", "/dev/zero", "--model", "tiny"],
        ["transfer", "run", "--model", "tiny", "--controlnet-specs", "/dev/zero"],
        [*action, "sparse.json"],
        [*action, "actions.npy"],
    ]
    code = textwrap.dedent(BOMBS).format(lines=lines)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
