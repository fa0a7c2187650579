"""Names that look like addresses, patterns or options, or that are no text at all, on the way in and out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_cli.media.video import read_video
from cosmos_cli.testing import CommandResult

Run = Callable[..., CommandResult]

NO_TEXT = os.fsdecode(b"caf\xe9.mp4")
NAMES = ["12:30.mp4", "file:x.mp4", "concat:a.mp4", "subfile,,start,0,end,9,,:x.mp4", "-i.mp4", "%03d*.mp4", NO_TEXT]


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_of_any_name_is_read_and_a_video_of_that_name_made_again(
    video2world: Run, clip: Path, name: str
) -> None:
    shutil.copy(clip, Path(name))
    arguments = (f"--input-path={name}", "--save-path", f"out/{name}", "--num-frames", 5, "--num-steps", 1)
    result = video2world(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    made = Path("out", name)
    assert result.json["video"] == str(made)
    assert len(read_video(made).frames_FHWC) == 5
    before = made.read_bytes()
    again = video2world("--from-file", made.with_suffix(".json"), "--overwrite")
    assert again.exit_code == 0, again.stderr
    assert made.read_bytes() == before


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_name_that_stdout_cannot_show_costs_no_video(clip: Path, encoding: str) -> None:
    shutil.copy(clip, Path(NO_TEXT))
    line = ["predict2", "video2world", "--model", "tiny", "--num-frames", "5", "--num-steps", "1", "--prompt", "Süß."]
    line += ["--input-path", NO_TEXT, "--save-path", f"ü-{NO_TEXT}", "--json"]
    code = "from cosmos_cli.main import main; main()"
    made = subprocess.run(
        [sys.executable, "-c", code, *line],
        capture_output=True,
        timeout=100,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"},
    )
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["video"] == f"ü-{NO_TEXT}"
    sidecar = json.loads(Path(f"ü-{NO_TEXT}").with_suffix(".json").read_bytes())
    assert (Path(sidecar["request"]["input_path"]), sidecar["request"]["prompt"]) == (Path.cwd() / NO_TEXT, "Süß.")
