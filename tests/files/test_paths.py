"""What path a text means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cosmos_cli.files.paths import given_path


def test_a_tilde_is_the_home_folder_and_only_at_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert given_path("~/in.png") == given_path(Path("~/in.png")) == Path("/home/ada/in.png")
    assert given_path("~") == Path("/home/ada")
    for text in ("a/~/b", "~ada", "~$draft.mp4", "in~", "a.png", "/~/b", ""):
        assert given_path(text) == Path(text)


def test_a_folder_that_is_called_so_can_still_be_named_and_stays_it() -> None:
    meant = given_path("./~/in.png")
    assert meant == Path("~/in.png").absolute()
    assert given_path(meant) == meant


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\0b", "holds a NUL"),
        ("x" * 256, "a name of 256 bytes"),
        ("ü" * 128, "a name of 256 bytes"),
        ("deep/" * 1000, "paths have at most"),
        ("\ud800", "characters that file names here cannot"),
    ],
)
def test_what_no_file_can_be_called_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        given_path(text)


def test_the_longest_names_and_bytes_that_are_no_text_are_taken() -> None:
    assert given_path("x" * 255).name == "x" * 255
    assert os.fsencode(given_path(os.fsdecode(b"caf\xe9"))) == b"caf\xe9"
