from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_cli.files.missing import exists, is_file, why_missing
from cosmos_cli.testing import CommandResult

ADDRESSES = [
    "http://host/a.mp4",
    "HTTPS://host/a.mp4",
    "s3://bucket/a.mp4",
    "rtsp://camera/1",
    "data:image/png;base64,iVB",
]


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_is_told_from_a_file(name: str) -> None:
    assert why_missing(Path(name)).startswith("does not exist. It looks like an address on the net: download it first")


@pytest.mark.parametrize(
    "name", ["a.mp4", "12:30.mp4", "concat:a.mp4", "C:/a.mp4", "file:/a.mp4", "x" * 300, "a\0b", "\udcff", "data:x.mp4"]
)
def test_other_names_are_files_that_are_not_there(name: str) -> None:
    path = Path(name)
    assert (exists(path), is_file(path), why_missing(path)) == (False, False, "does not exist")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert (exists(tmp_path), is_file(tmp_path), why_missing(tmp_path)) == (True, False, "is not a file")


COMMANDS = {
    "predict2 video2world": ["--input-path", "{}", "--prompt", "x", "--model", "tiny"],
    "predict2 multiview": ["--input-path", "{}", "--prompt", "x", "--model", "tiny"],
    "predict2 critic": ["{}", "--critic", "measured"],
    "predict2 action": ["--input-video", "{}", "--input-annotation", "a.json", "--model", "tiny"],
    "transfer run": ["--input-video-path", "{}", "--prompt", "x", "--model", "tiny", "--controlnet-specs", "spec.json"],
    "transfer annotate": [
        *("--input-video-path", "{}", "--prompt", "x", "--model", "tiny", "--controlnet-specs", "spec.json")
    ],
}


@pytest.mark.parametrize("name", ["https://host/a.mp4", "x" * 300 + ".mp4"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_so(cosmos: Callable[..., CommandResult], command: str, name: str) -> None:
    Path("spec.json").write_text('{"edge": {}}')
    result = cosmos(*command.split(), *(argument.format(name) for argument in COMMANDS[command]), "--json")
    assert result.exit_code == 2, result.stderr
    said = str(result.json["problems"])
    assert ("looks like an address" if name.startswith("https") else "names have at most 255") in said
