from __future__ import annotations

import errno
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli import output
from cosmos_cli.files import cache as cache_module
from cosmos_cli.files.cache import Cache
from cosmos_cli.settings import MachineSettings

LIMIT = 1 << 20


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    output.configure(speaking=False)
    return Cache(tmp_path / "cache", "things", limit_bytes=LIMIT)


def entries(tmp_path: Path) -> set[Path]:
    return {*(tmp_path / "cache" / "things").iterdir()}


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 100])
def test_what_was_put_is_given_again_for_the_same_identity_only(cache: Cache, content: bytes) -> None:
    assert cache.get("a") is None
    cache.put("a", content)
    assert (cache.get("a"), cache.get("b"), output.notices()) == (content, None, [])


def test_every_flipped_bit_and_every_cut_is_found(cache: Cache, tmp_path: Path) -> None:
    cache.put("a", b"some content")
    [entry] = entries(tmp_path)
    whole = entry.read_bytes()
    for place in range(len(whole)):
        entry.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert cache.get("a") is None
        entry.write_bytes(whole[:place])
        assert cache.get("a") is None
    entry.write_bytes(whole + b"x")
    assert (cache.get("a"), output.notices()) == (None, [])
    cache.put("a", b"made again")
    assert cache.get("a") == b"made again"


def test_an_entry_of_something_else_does_not_pass_under_another_name(cache: Cache, tmp_path: Path) -> None:
    cache.put("a", b"of a")
    [of_a] = entries(tmp_path)
    cache.put("b", b"of b")
    [of_b] = entries(tmp_path) - {of_a}
    of_b.write_bytes(of_a.read_bytes())
    assert (cache.get("a"), cache.get("b")) == (b"of a", None)


@pytest.mark.parametrize("planted", ["link", "dangling link", "pipe", "folder", "enormous", "device"])
def test_what_was_planted_in_place_of_an_entry_is_neither_read_nor_written_through(
    cache: Cache, tmp_path: Path, planted: str
) -> None:
    cache.put("a", b"content")
    [entry] = entries(tmp_path)
    precious = tmp_path / "precious"
    precious.write_bytes(entry.read_bytes())
    before = precious.read_bytes()
    entry.unlink()
    {
        "link": lambda: entry.symlink_to(precious),
        "dangling link": lambda: entry.symlink_to(tmp_path / "made"),
        "pipe": lambda: os.mkfifo(entry),
        "folder": lambda: entry.mkdir(),
        "enormous": lambda: (entry.touch(), os.truncate(entry, 1 << 40)),
        "device": lambda: entry.symlink_to("/dev/zero"),
    }[planted]()
    assert cache.get("a") is None
    cache.put("a", b"new content")
    assert precious.read_bytes() == before
    assert not (tmp_path / "made").exists()
    if planted != "folder":
        assert (cache.get("a"), output.notices()) == (b"new content", [])


@pytest.mark.parametrize(
    "number", [errno.EROFS, errno.ENOSPC, errno.ESTALE, errno.EACCES, errno.EIO, errno.EDQUOT, errno.ENAMETOOLONG]
)
@pytest.mark.parametrize("operation", ["reading", "writing", "mkdir", "scandir"])
def test_a_folder_that_cannot_be_used_costs_one_note(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, operation: str
) -> None:
    cache.put("warm", b"content")

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    names = {"reading": "_read", "writing": "_write", "scandir": "_prune"}
    if operation == "mkdir":
        monkeypatch.setattr(Path, "mkdir", fail)
    else:
        monkeypatch.setattr(cache_module, names[operation], fail)
    for identity in ("warm", "cold", "warm"):
        content = cache.get(identity)
        assert content == (b"content" if identity == "warm" and operation != "reading" else None)
        cache.put("cold" * 2, b"")
        Cache(tmp_path / "cache", "others", limit_bytes=LIMIT).put("b", b"c")
    [note] = output.notices()
    assert note.endswith(f"cache cannot be used: {os.strerror(number)}; going on without it")


def test_a_full_disk_leaves_nothing_half_written(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.put("a", b"content")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    cache.put("b", b"content")
    assert len(entries(tmp_path)) == 1


def test_entries_that_can_be_read_and_not_touched_are_used_without_a_word(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put("a", b"content")

    def refused(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refused)
    assert (cache.get("a"), output.notices()) == (b"content", [])


def test_a_file_in_place_of_the_folder_costs_one_note(tmp_path: Path) -> None:
    output.configure(speaking=False)
    (tmp_path / "file").write_text("something of somebody's")
    for kind in ("one", "two"):
        cache = Cache(tmp_path / "file", kind, limit_bytes=LIMIT)
        cache.put("a", b"content")
        assert cache.get("a") is None
    assert len(output.notices()) == 1
    assert (tmp_path / "file").read_text() == "something of somebody's"


def test_without_a_home_folder_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    output.configure(speaking=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # a container's user that nobody knows
    cache = Cache(Path("~/.cache/cosmos-cli"), "things", limit_bytes=LIMIT)
    cache.put("a", b"content")
    assert cache.get("a") is None
    assert len(output.notices()) == 1
    assert not Path("~").exists()


def test_the_home_folder_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Cache(Path("~/.cache/cosmos-cli"), "things", limit_bytes=LIMIT).put("a", b"content")
    assert len(list((tmp_path / ".cache/cosmos-cli/things").iterdir())) == 1


def test_a_folder_whose_name_no_file_can_have_costs_one_note() -> None:
    output.configure(speaking=False)
    cache = Cache(Path("a\0b"), "things", limit_bytes=LIMIT)
    cache.put("a", b"content")
    assert cache.get("a") is None
    assert len(output.notices()) == 1


def test_beyond_the_limit_what_was_not_used_for_the_longest_goes_and_nothing_of_somebody_elses(
    cache: Cache, tmp_path: Path
) -> None:
    folder = tmp_path / "cache" / "things"
    folder.mkdir(parents=True)
    (folder / "holiday.mkv").write_bytes(bytes(LIMIT))
    old, new = folder / ("0" * 64 + ".mkv"), folder / ("." + "0" * 64 + "." + "1" * 16 + ".part")
    for path in (old, new):
        path.write_bytes(bytes(LIMIT // 2))
        os.utime(path, (time.time() - 1e6,) * 2)
    for number in range(3):
        before = entries(tmp_path)
        cache.put(f"{number}", bytes(LIMIT // 3))
        [put] = entries(tmp_path) - before
        os.utime(put, (time.time() - 100 + number,) * 2)
        cache.get("0")
    names = [path.name for path in entries(tmp_path)]
    assert "holiday.mkv" in names
    assert not {old.name, new.name} & {*names}
    assert [cache.get(f"{number}") is not None for number in range(3)] == [True, False, True]


def _use(folder: Path, wrong: Any) -> None:
    cache = Cache(folder, "things", limit_bytes=20_000)
    for number in range(100):
        identity = str(number % 7)
        content = cache.get(identity)
        if content is not None and content != identity.encode() * 5000:
            wrong.value += 1
        cache.put(identity, identity.encode() * 5000)
    wrong.value += len(output.notices())


def test_several_processes_share_a_cache_that_always_overflows(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    wrong = context.Value("i", 0)
    workers = [context.Process(target=_use, args=(tmp_path, wrong)) for _ in range(3)]
    output.configure(speaking=False)
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert wrong.value == 0


def test_without_a_limit_everything_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", "things", limit_bytes=None)
    for number in range(3):
        cache.put(str(number), bytes(LIMIT))
    assert [cache.get(str(number)) for number in range(3)] == [bytes(LIMIT)] * 3


def test_the_cache_lies_where_the_system_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert MachineSettings().cache_folder == tmp_path / "cosmos-cli"
    assert MachineSettings(cache_dir=Path("elsewhere")).cache_folder == Path("elsewhere")
