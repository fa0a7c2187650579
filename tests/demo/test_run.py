"""What is made, what stays, and what is told when something goes wrong; the commands themselves take no time here."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from cosmos_cli.demo.run import PAGE_NAME, make_all
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.testing import run_cosmos
from tests.demo.parts import BROKEN, DISK_FULL, HOSTILE, ONE, REFUSED, TWO, Commands

FOLDER = Path("made")


def test_what_an_earlier_run_has_made_stays() -> None:
    commands = Commands()
    first = make_all([ONE, TWO], FOLDER, 0, commands)
    video = (FOLDER / "one" / "video.mp4").read_bytes()
    second = make_all([ONE, TWO], FOLDER, 0, commands)
    assert commands.ran == ["one", "two"]
    assert [one.status for one in (*first.made, *second.made)] == ["done", "done", "done before", "done before"]
    assert [one.section.seconds for one in first.made] == [one.section.seconds for one in second.made]
    assert (FOLDER / "one" / "video.mp4").read_bytes() == video
    assert first.exit_code == second.exit_code == 0


@pytest.mark.parametrize("change", ["seed", "overwrite", "changed", "gone", "state", "weights"])
def test_a_part_is_made_again_where_it_would_not_be_the_same(change: str) -> None:
    commands = Commands()
    make_all([ONE], FOLDER, 0, commands)
    video = FOLDER / "one" / "video.mp4"
    if change == "changed":
        video.write_bytes(b"something else")
    if change == "gone":
        video.unlink()
    if change == "state":
        (FOLDER / "demo.json").write_text('{"parts": {"one": ')
    if change == "weights":
        Path("model.pt").write_bytes(b"of a later version")
    report = make_all([ONE], FOLDER, int(change == "seed"), commands, overwrite=change == "overwrite")
    assert commands.ran == ["one", "one"]
    assert [one.status for one in report.made] == ["done"]


@pytest.mark.parametrize("failure", [DISK_FULL, REFUSED])
def test_a_part_that_fails_is_told_and_the_others_go_on(failure: CosmosError) -> None:
    report = make_all([BROKEN, ONE, TWO], FOLDER, 0, Commands({"one": failure}))
    assert [one.status for one in report.made] == ["failed", "failed", "done"]
    assert report.exit_code == 1
    page = report.page.read_text()
    assert "lost its worlds" in page
    assert str(failure) in page
    assert page.count("<video") == 1
    again = Commands()
    assert [one.status for one in make_all([ONE, TWO], FOLDER, 0, again).made] == ["done", "done before"]
    assert again.ran == ["one"]


def test_who_stops_it_and_starts_it_again_loses_nothing() -> None:
    with pytest.raises(KeyboardInterrupt):
        make_all([ONE, TWO], FOLDER, 0, Commands({"two": KeyboardInterrupt()}))
    assert not (FOLDER / PAGE_NAME).exists()
    again = Commands()
    assert [one.status for one in make_all([ONE, TWO], FOLDER, 0, again).made] == ["done before", "done"]
    assert again.ran == ["two"]


def test_a_full_disk_is_told_where_the_page_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_text

    def full(path: Path, *arguments: object, **options: object) -> int:
        if path.suffix == ".html":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(CosmosError, match=PAGE_NAME) as raised:
        make_all([ONE], FOLDER, 0, Commands())
    assert raised.value.exit_code == 1
    assert not list(FOLDER.glob("*.html"))


def test_a_folder_of_somebody_else_is_left_alone() -> None:
    FOLDER.mkdir()
    (FOLDER / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        make_all([ONE], FOLDER, 0, Commands())
    assert [path.name for path in FOLDER.iterdir()] == ["thesis.txt"]


def test_a_folder_that_is_a_file_is_told_before_anything_is_made() -> None:
    FOLDER.write_text("mine")
    result = run_cosmos("demo", "--output-dir", FOLDER)
    assert result.exit_code == 2
    assert "--output-dir" in result.stderr
    assert FOLDER.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told() -> None:
    FOLDER.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    assert run_cosmos("demo", "--output-dir", FOLDER / "inner").exit_code == 2


def test_a_part_that_there_is_not_is_told_with_its_neighbour() -> None:
    result = run_cosmos("demo", "egde")
    assert result.exit_code == 2
    assert "Did you mean edge?" in result.stderr


def test_no_text_becomes_markup() -> None:
    page = make_all([ONE], FOLDER, 0, Commands()).page.read_text()
    assert HOSTILE not in page
    assert page.count("<script>") == 1
