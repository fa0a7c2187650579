from __future__ import annotations

import os
from pathlib import Path

import pytest

from cosmos_cli.errors import InputError
from cosmos_cli.files.names import check_name, within

NO_NAMES = {
    "profile\0x.mp4": "nobody can see",
    "a\nb.mp4": "nobody can see",
    "a\x1b[31m.mp4": "nobody can see",
    "a\u202egpj.mp4": "nobody can see",
    "\ud800.mp4": "no file name can have",
    ".mp4": "a dot at the beginning hides it",
    "..mp4": "a dot at the beginning hides it",
    " ": "a dot at the beginning hides it",
    "x" * 252 + ".mp4": "bytes long",
    "ä" * 126 + ".mp4": "bytes long",
    "/".join(["d" * 200] * 25) + "/a.mp4": "bytes long",
}


@pytest.mark.parametrize("name", NO_NAMES, ids=[ascii(name)[:20] for name in NO_NAMES])
def test_what_no_file_can_be_called_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=NO_NAMES[name]):
        check_name(tmp_path / name, field="--save-path")
    with pytest.raises(InputError, match=NO_NAMES[name]):
        within(tmp_path, name, field="output_video")


NAMES = ["x" * 251 + ".mp4", "12:30.mp4", "Straße 7.mp4", "a..mp4", "-a.mp4", os.fsdecode(b"\xff.mp4")]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_file_may_be_called_is_taken(name: str, tmp_path: Path) -> None:
    path = within(tmp_path / "here", name, field="output_video")
    path.touch()
    assert [found.name for found in Path().iterdir()] == [name]


@pytest.mark.parametrize("name", ["../a.mp4", "/a.mp4", "b/../../a.mp4", "link/a.mp4", "link/new/a.mp4", "round/a.mp4"])
def test_a_name_leads_out_of_its_folder_by_no_way(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    (folder / "round").symlink_to(folder / "round")
    with pytest.raises(InputError, match="leads out of the output folder"):
        within(folder, name, field="output_video")


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    assert within(tmp_path / "out", "deep/a.mp4", field="output_video") == tmp_path / "out/deep/a.mp4"
