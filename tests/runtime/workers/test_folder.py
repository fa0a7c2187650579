"""What launchers that were killed left is removed, and nothing else."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from cosmos_cli.runtime.workers.folder import PREFIX, launcher_folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def abandoned(place: Path) -> Path:
    folder = place / f"{PREFIX}abandoned"
    (folder / "0" / "attempt_0").mkdir(parents=True)
    (folder / "0" / "attempt_0" / "step").write_text("Adding")
    return folder


def test_a_launcher_removes_what_the_dead_left_and_its_own_at_the_end(place: Path) -> None:
    left = abandoned(place)
    with launcher_folder() as folder:
        assert not left.exists()
        (folder / "0").mkdir()
    assert not list(place.glob("*cosmos*"))


def test_the_folder_of_a_live_launcher_stays(place: Path) -> None:
    with launcher_folder() as first, launcher_folder() as second:
        assert first.is_dir() and second.is_dir() and first != second


def test_links_files_and_folders_of_others_stay(
    place: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path_factory.mktemp("precious")
    (precious / "thesis.tex").write_text("all of it")
    (place / f"{PREFIX}link").symlink_to(precious)
    (place / f"{PREFIX}file").write_text("")
    (place / "cosmos-cluster").mkdir()
    inside = abandoned(place)
    (inside / "out").symlink_to(precious)
    with launcher_folder():
        pass
    assert (precious / "thesis.tex").exists()
    assert {path.name for path in place.iterdir()} == {f"{PREFIX}link", f"{PREFIX}file", "cosmos-cluster"}
    others = abandoned(place)
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    with launcher_folder():
        assert others.exists()


def test_without_locks_nothing_of_others_is_removed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    left = abandoned(place)
    with launcher_folder() as folder:
        assert folder.is_dir() and left.is_dir()
    assert not folder.exists()
