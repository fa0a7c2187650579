"""What lies in the checkpoint folder, or befalls its disk and the process, while files come in."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.hub_server import Hub
from tests.parcel import (
    BASE,
    CONFIG,
    EDGE,
    FILES,
    NEEDED,
    TEXT,
    Cosmos,
    files_in,
    parts,
    start,
)
from tests.waiting import PATIENCE_S, until


def test_a_folder_that_cannot_lock_files_is_downloaded_to_with_one_note(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    result = cosmos("download", "parcel")
    assert result.exit_code == 0, result.stderr
    assert "checkpoints/acme/world knows no locks: take care that no other cosmos downloads to it" in result.stderr
    assert Path("checkpoints", BASE).read_bytes() == FILES[BASE]


def part_of(path: str) -> Path:
    """Where a file of the Hub is kept until it is complete; its folder is there."""
    target = Path("checkpoints", path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.{hashlib.sha256(FILES[path]).hexdigest()[:12]}.part")


@pytest.mark.parametrize("kind", ["link", "hard link", "loop", "dangling", "pipe"])
def test_what_lies_where_a_part_belongs_is_neither_followed_nor_filled(hub: Hub, cosmos: Cosmos, kind: str) -> None:
    victim, part = Path("victim").absolute(), part_of(TEXT)
    victim.write_bytes(b"mine")
    if kind == "pipe":
        os.mkfifo(part)
    elif kind == "hard link":
        part.hardlink_to(victim)
    else:
        part.symlink_to({"link": victim, "loop": part.absolute(), "dangling": Path("nothing").absolute()}[kind])
    assert cosmos("download", "other").exit_code == 0
    assert victim.read_bytes() == b"mine"
    assert not Path("nothing").exists()
    assert files_in(Path("checkpoints")) == {TEXT: FILES[TEXT]}


def test_a_link_in_place_of_a_file_is_replaced_and_a_folder_that_is_one_is_used(hub: Hub, cosmos: Cosmos) -> None:
    elsewhere = Path("elsewhere").absolute()
    elsewhere.mkdir()
    Path("checkpoints").symlink_to(elsewhere)
    part_of(TEXT)
    Path("checkpoints", TEXT).symlink_to(Path("nothing").absolute())
    assert cosmos("download", "other").exit_code == 0
    assert not Path("nothing").exists()
    assert files_in(elsewhere) == {TEXT: FILES[TEXT]}


def test_a_part_that_is_too_large_is_not_read(hub: Hub, cosmos: Cosmos) -> None:
    with part_of(TEXT).open("wb") as part:
        part.truncate(1 << 42)
    assert cosmos("download", "other").exit_code == 0
    assert files_in(Path("checkpoints")) == {TEXT: FILES[TEXT]}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_says_how_much_is_needed(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fsync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    result = cosmos("download", "other", "--json")
    assert (result.exit_code, result.json["error"]) == (1, "Disk full")
    assert "400,000 bytes are there" in result.json["problems"][0]["what"]


def test_a_file_in_place_of_the_folder_is_named(hub: Hub, cosmos: Cosmos) -> None:
    Path("file").write_bytes(b"")
    result = cosmos("download", "other", "--checkpoint-dir", "file")
    assert result.exit_code == 1
    assert "Not a directory" in result.stderr
    assert "Make room" not in result.stderr


def test_a_disk_without_room_is_noticed_before_the_first_byte(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=4_000_000))
    result = cosmos("download", "parcel")
    assert result.exit_code == 2
    assert "0.0 GB, but its disk has 0.0 GB" in result.stderr
    assert not hub.sent


def test_a_disk_that_becomes_full_keeps_what_there_is(hub: Hub, cosmos: Cosmos, packages: Path) -> None:
    full = start(packages, "parcel", limit_bytes=2_000_000)
    _, stderr = full.communicate(timeout=PATIENCE_S)
    assert full.returncode == 1
    assert "does not fit on the disk: 2,000,000 of its 3,000,000 bytes are there, and" in stderr
    assert set(files_in(Path("checkpoints"))) - set(parts()) == {EDGE, CONFIG, TEXT}
    assert cosmos("download", "parcel").exit_code == 0
    assert files_in(Path("checkpoints")) == NEEDED
    assert hub.ranges == [f"{BASE} 2000000"]


def test_ctrl_c_leaves_what_a_second_run_goes_on_with(hub: Hub, cosmos: Cosmos, packages: Path) -> None:
    hub.pause_s = 0.05
    stopped = start(packages, "acme/world")
    until(lambda: hub.sent.get(BASE, 0) >= 500_000)
    stopped.send_signal(signal.SIGINT)
    stopped.communicate(timeout=PATIENCE_S)
    assert stopped.returncode == 130
    [part] = [path for path in parts() if ".base.pt." in path]
    assert BASE not in files_in(Path("checkpoints"))
    kept = Path("checkpoints", part).stat().st_size
    assert kept >= 300_000
    hub.pause_s = 0.0
    assert cosmos("download", "acme/world").exit_code == 0
    assert f"{BASE} {kept}" in hub.ranges
    assert files_in(Path("checkpoints")) == {path: FILES[path] for path in (BASE, EDGE, CONFIG)}


def test_two_downloads_at_once_share_the_work(hub: Hub, packages: Path) -> None:
    hub.pause_s = 0.02
    both = [start(packages, "parcel") for _ in range(2)]
    assert [(one.communicate(timeout=PATIENCE_S), one.returncode)[1] for one in both] == [0, 0]
    assert files_in(Path("checkpoints")) == NEEDED
    assert hub.sent == {path: len(content) for path, content in NEEDED.items()}
