"""Every input error: the right exit code, one panel that names the field and the way out, and nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_cli.testing import CommandResult, run_cosmos
from tests.clips import encode, moving_gradient
from tests.waiting import PATIENCE_S

GOOD = {
    "--input-path": "picture.png",
    "--prompt": "The slope drifts on.",
    "--model": "tiny",
    "--save-path": "new/out.mp4",
}


def truncated(path: Path) -> None:
    encode(path, moving_gradient(60, 96, 160))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def folder(picture: Path, tmp_path: Path) -> Path:
    """A working folder with one good picture and every kind of bad file."""
    here = Path.cwd()
    picture.rename(here / "picture.png")
    encode(here / "short.mp4", moving_gradient(3, 32, 32))
    truncated(here / "truncated.mp4")
    (here / "empty.mp4").write_bytes(b"")
    (here / "text.mp4").write_text("not a video")
    (here / "text.png").write_text("not a picture")
    (here / "taken.mp4").write_text("an earlier video")
    (here / "file").write_text("not a folder")
    return here


CASES = {
    "missing file": ({"--input-path": "nowhere.png"}, "--input-path", "does not exist"),
    "a folder as input": ({"--input-path": "."}, "--input-path", "not a file"),
    "no video": ({"--input-path": "text.mp4"}, "text.mp4", "cannot be read as a video"),
    "no picture": ({"--input-path": "text.png"}, "text.png", "cannot be read as an image"),
    "zero frames": ({"--input-path": "empty.mp4"}, "empty.mp4", "cannot be read as a video"),
    "truncated video": ({"--input-path": "truncated.mp4"}, "truncated.mp4", "complete"),
    "still picture, 5 frames": ({"--num-conditional-frames": "5"}, "--input-path", "still picture"),
    "short video": ({"--input-path": "short.mp4", "--num-conditional-frames": "5"}, "--input-path", "has 3 frames"),
    "4 frames": ({"--num-conditional-frames": "4"}, "--num-conditional-frames", "1 or 5"),
    "unknown resolution": ({"--resolution": "1080"}, "--resolution", "'480' or '720'"),
    "unknown aspect ratio": ({"--aspect-ratio": "2:1"}, "--aspect-ratio", "'16:9'"),
    "unknown rate": ({"--fps": "24"}, "--fps", "10 or 16"),
    "unknown model": ({"--model": "7B"}, "--model-size", "'2B'"),
    "guidance nan": ({"--guidance": "nan"}, "--guidance", "finite"),
    "guidance inf": ({"--guidance": "inf"}, "--guidance", "finite"),
    "guidance negative": ({"--guidance": "-1"}, "--guidance", ">= 0"),
    "guidance text": ({"--guidance": "strong"}, "--guidance", "number"),
    "long prompt": ({"--prompt": "a" * 10_000}, "--prompt", "10,000 characters"),
    "negative seed": ({"--seed": "-1"}, "--seed", ">= 0"),
    "no steps": ({"--num-steps": "0"}, "--num-steps", ">= 1"),
    "no frames": ({"--num-frames": "0"}, "--num-frames", ">= 1"),
    "output exists": ({"--save-path": "taken.mp4"}, "--save-path", "--overwrite"),
    "output is a folder": ({"--save-path": "."}, "--save-path", "folder"),
    "output is no mp4": ({"--save-path": "out.gif"}, "--save-path", ".mp4"),
    "output under a file": ({"--save-path": "file/out.mp4"}, "--save-path", "cannot be written"),
    "output not writable": ({"--save-path": "/proc/out.mp4"}, "--save-path", "cannot be written"),
    "several GPUs": ({"--num-gpus": "4"}, "--num-gpus", "this machine shows"),
    "EMA of nothing": ({"--load-ema": None}, "--load-ema", "--dit-path"),
    "sparse tiny": ({"--natten": None}, "--natten", "no checkpoint"),
}


def command_line(changes: dict[str, str | None]) -> list[str]:
    given = GOOD | changes
    return [part for option, value in given.items() for part in (option, value) if part is not None]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def words(panel: str) -> str:
    """The panel's text without its frame and line breaks."""
    return " ".join(panel.replace("│", " ").split())


@pytest.mark.parametrize("case", CASES)
def test_exit_code_panel_and_a_clean_folder(folder: Path, case: str) -> None:
    changes, field, hint = CASES[case]
    before = files(folder)
    result = run_cosmos("predict2", "video2world", *command_line(changes))
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("╭") == 1
    assert field in words(result.stderr)
    assert hint in words(result.stderr)
    assert "Traceback" not in result.stderr
    assert files(folder) == before
    assert not (folder / "new").exists()


def test_no_model_and_not_even_torch_is_loaded_to_find_out(folder: Path) -> None:
    lines = [command_line(changes) for changes, _field, _hint in CASES.values()]
    code = (
        "import sys\nfrom cosmos_cli.testing import run_cosmos\n"
        f"for line in {lines!r}:\n    assert run_cosmos('predict2', 'video2world', *line).exit_code == 2, line\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    assert printed.stdout.strip() == "[]"


def test_all_that_is_wrong_is_said_at_once(folder: Path) -> None:
    fields = run_cosmos("predict2", "video2world", *command_line({"--guidance": "nan", "--fps": "24", "--seed": "x"}))
    assert all(option in fields.stderr for option in ("--guidance", "--fps", "--seed"))
    files_ = run_cosmos(
        "predict2", "video2world", *command_line({"--input-path": "nowhere.png", "--save-path": "taken.mp4"})
    )
    assert "nowhere.png" in files_.stderr
    assert "taken.mp4" in files_.stderr
    assert files_.stderr.count("╭") == 1


@pytest.mark.parametrize("size", ["2B", "14B"])
def test_without_checkpoints_the_missing_files_their_size_and_the_download_are_named(
    folder: Path, size: str, cosmos: Callable[..., CommandResult]
) -> None:
    result = cosmos("predict2", "video2world", *command_line({"--model": size}))
    assert result.exit_code == 4
    text = words(result.stderr)
    for part in (
        "model-720p-16fps.pt",
        "tokenizer/tokenizer.pth",
        "text_encoder/",
        "GB",
        "cosmos download predict2/14B" if size == "14B" else "cosmos download predict2",
        "--model tiny",
    ):
        assert part in text
    assert not (folder / "new").exists()


@pytest.mark.parametrize("content", [b"", b"<html>gone</html>", b"PK\x03\x04 cut short"])
def test_a_damaged_dit_is_exit_code_4_and_leaves_nothing(folder: Path, content: bytes) -> None:
    (folder / "dit.pt").write_bytes(content)
    result = run_cosmos("predict2", "video2world", *command_line({"--dit-path": "dit.pt"}))
    assert result.exit_code == 4, result.stderr
    assert "dit.pt" in words(result.stderr)
    assert not (folder / "new").exists()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_leaves_no_partial_file(folder: Path, name: str) -> None:
    line = [sys.executable, "-m", "cosmos_cli", "predict2", "video2world", *command_line({"--num-steps": "1000"})]
    process = subprocess.Popen(line, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "Loading tiny" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(1)
    process.send_signal(signal.Signals[name])
    assert process.wait(PATIENCE_S) == 130
    assert not (folder / "new").exists()
