"""Paths in object stores do what paths do, and what goes wrong there is said."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest

from cosmos_cli.errors import CosmosError, DiskFull, InputError
from cosmos_cli.files import copies, store_service
from cosmos_cli.files.ahead import fetch_all
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.identity import digest, identity_of, is_still
from cosmos_cli.files.makers import new_name
from cosmos_cli.files.names import check_name, within
from cosmos_cli.files.outputs import check_writable, making
from cosmos_cli.files.stores import StorePath, copies_folder, facts_of, is_address, keep_copies_in, looking, stored
from cosmos_cli.files.transactions import withheld
from cosmos_cli.files.writing import remove_stored_remains, replacing, write_json
from cosmos_cli.media.image import read_image
from cosmos_cli.requests import Anywhere, StrictModel, read_request_file


@pytest.fixture(autouse=True)
def memory(tmp_path: Path) -> Iterator[Any]:
    """An empty store of this process."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    keep_copies_in(tmp_path / "copies")
    yield files
    files.store.clear()


def at(name: str) -> StorePath:
    path = stored(Path(f"memory://bucket/{name}"))
    assert isinstance(path, StorePath)
    return path


def test_an_address_is_a_path() -> None:
    path = at("a/b.mp4")
    assert (str(path), path.name, path.suffix, path.stem) == ("memory://bucket/a/b.mp4", "b.mp4", ".mp4", "b")
    assert os.fspath(path) == str(path)
    for same in (copy.copy(path), pickle.loads(pickle.dumps(path)), path.absolute(), path.resolve(), stored(path)):
        assert type(same) is StorePath
        assert (same, str(same), hash(same)) == (path, str(path), hash(path))
    for near in (path.parent / "c", path.with_name("c"), path.with_suffix(".c"), path.parent.joinpath("c")):
        assert type(near) is StorePath
    assert str(path.with_suffix(".json")) == "memory://bucket/a/b.json"
    assert path.parent / "/tmp/x" == Path("/tmp/x")
    assert type(path.parent / "/tmp/x") is type(Path())
    assert path.parent / "memory://other/x" == stored(Path("memory://other/x"))
    assert path.relative_to(path.parent) == Path("b.mp4")
    assert path.is_relative_to(at("a"))
    assert not path.is_relative_to(at("b"))
    assert not path.is_relative_to(Path())
    assert list(map(str, path.parents))[:2] == ["memory://bucket/a", "memory://bucket"]
    with pytest.raises(ValueError, match="does not lie in"):
        path.relative_to(at("b"))
    assert path != at("a/c.mp4")


@pytest.mark.parametrize("text", ["s3", "s3:x", "c:/x", "https://x/y", "file:///x", "a/s3://b", "/s3:/b", "S3://b/c"])
def test_what_is_no_address_stays_a_path(text: str) -> None:
    assert not is_address(text)
    assert type(stored(Path(text))) is type(Path())


@pytest.mark.parametrize("text", ["s3://", "s3://bucket/../x"])
def test_an_address_without_a_bucket_or_that_climbs_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as s3://bucket/folder"):
        stored(Path(text))


def test_files_are_written_whole_read_and_removed(memory: Any) -> None:
    path = at("a/b.json")
    assert not path.exists()
    assert not path.is_dir()
    write_json(path, {"x": 1})
    assert memory.cat("/bucket/a/b.json").startswith(b"{")
    assert read_json(path) == {"x": 1}
    assert path.read_text() == path.open().read() == path.read_bytes().decode()
    assert path.read_bytes(3) == path.read_bytes()[:3]
    assert (path.is_file(), path.is_dir(), path.parent.is_dir()) == (True, False, True)
    assert path.stat().st_size == len(path.read_bytes())
    assert [each.name for each in path.parent.iterdir()] == ["b.json"]
    assert list(at("a").glob("*.json")) == [path]
    assert list(at("none").glob("*")) == []
    assert list((copies_folder() / "outgoing").iterdir()) == []
    path.unlink()
    path.unlink(missing_ok=True)
    assert not path.exists()
    for lost in (path.unlink, path.read_bytes, path.open, path.stat):
        with pytest.raises(FileNotFoundError):
            lost()
    write_json(at("folder/x.json"), {})
    with pytest.raises(IsADirectoryError):
        at("folder").open()


def test_a_write_that_fails_leaves_nothing_anywhere(memory: Any) -> None:
    path = at("x.txt")
    with pytest.raises(RuntimeError, match="on the way"), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("on the way")
    assert not path.exists()
    assert list(memory.store) == []
    assert list((copies_folder() / "outgoing").iterdir()) == []


def test_files_of_a_transaction_appear_together_or_not_at_all(memory: Any) -> None:
    first, second = at("v.mp4"), at("v.json")

    def write(fails: bool) -> None:
        with making([first, second], overwrite=False):
            for path in (first, second):
                with replacing(path) as temporary:
                    temporary.write_text(path.name)
                assert not path.exists()
            if fails:
                raise RuntimeError("before the end")

    with pytest.raises(RuntimeError, match="before the end"):
        write(fails=True)
    assert list(memory.store) == []
    write(fails=False)
    assert sorted(memory.store) == ["/bucket/v.json", "/bucket/v.mp4"]
    with pytest.raises(InputError, match="exists already"):
        write(fails=False)
    assert identity_of(first) == (5, digest(first))
    assert is_still(first, [5, "whatever"])
    assert not is_still(first, [6, digest(first)])
    assert not is_still(at("none"), [5, ""])


def test_a_failure_is_told_though_what_was_written_cannot_be_removed(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, path: str) -> None:
        raise PermissionError("Access Denied")

    def write() -> None:
        with withheld([at("v.mp4")]):
            with replacing(at("v.mp4")) as temporary:
                temporary.write_text("x")
            monkeypatch.setattr(type(memory), "rm_file", refuse)
            raise RuntimeError("before the end")

    with pytest.raises(RuntimeError, match="before the end"):
        write()


def test_no_folder_for_copies_is_no_fault_of_the_picture(memory: Any, tmp_path: Path) -> None:
    at("a.png").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"")
    keep_copies_in(tmp_path / "file" / "copies")
    with pytest.raises(CosmosError) as raised:
        read_image(at("a.png"))
    [problem] = raised.value.problems
    assert (problem.what, problem.where) == (
        "cannot be written: Not a directory.",
        str(tmp_path / "file/copies/copies"),
    )


def test_what_others_left_half_done_of_ones_files_is_removed(memory: Any) -> None:
    mine, theirs = at("v.mp4"), at("w.mp4")
    for path in (mine, theirs):
        with withheld([path]), replacing(path) as temporary:
            temporary.write_text("x")  # and nobody lives to give it its name
    assert len(memory.store) == 2
    remove_stored_remains([mine, at("u.mp4")])
    assert [".cosmos-" in name for name in memory.store] == [True]
    remove_stored_remains([theirs])
    assert not memory.store


def test_copies_are_made_once_per_version_and_the_oldest_go(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = at("a.bin")
    path.write_bytes(b"first")
    copied = path.here()
    assert copied.suffix == ".bin"
    fetches: list[str] = []
    fetch = memory.get_file
    monkeypatch.setattr(type(memory), "get_file", lambda self, *a, **k: (fetches.append(a[0]), fetch(*a, **k)))
    assert path.here() == copied
    assert fetches == []
    path.write_bytes(b"again")  # as long
    assert path.here().read_bytes() == b"again"
    assert len(fetches) == 1
    copied.write_bytes(b"")  # damaged, by its size
    os.utime(path.here(), (1, 1))

    monkeypatch.setattr(copies, "_LIMIT_BYTES", 8)
    left = copies_folder() / new_name(".", ".bin").replace(f"-{os.getpid()}-", "-999999999-")
    left.write_bytes(b"of a process that died")
    keep_copies_in(copies_folder())  # as another process
    at("b.bin").write_bytes(b"second")
    other = at("b.bin").here()
    assert sorted(each.name for each in copies_folder().iterdir() if each.is_file() and each.stat().st_size) == [
        other.name
    ]


def test_a_copy_that_comes_short_is_none(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = at("a.bin")
    path.write_bytes(b"whole")
    monkeypatch.setattr(type(memory), "get_file", lambda self, source, target: Path(target).write_bytes(b"hal"))
    with pytest.raises(CosmosError, match="came with 3 bytes instead of 5"):
        path.open()
    assert [each for each in copies_folder().iterdir() if each.is_file()] == []


def test_where_no_room_is_left_old_copies_go_and_else_that_is_said_before_anything_is_copied(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("old", 10), ("new", 9), ("large", 40)):
        at(f"{name}.bin").write_bytes(b"x" * size)
    old = at("old.bin").here()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10 if old.exists() else 20))
    keep_copies_in(copies_folder())
    with pytest.raises(DiskFull) as raised:
        at("large.bin").here()
    assert str(raised.value).startswith(
        f"{copies_folder()}: needs 40 bytes for a copy of memory://bucket/large.bin, but its disk has 10 free."
    )
    with pytest.raises(DiskFull, match="needs 40 bytes"):
        fetch_all([at("new.bin"), at("large.bin")])
    assert [each.name for each in copies_folder().glob(".*")] == []
    assert at("new.bin").here().read_bytes() == b"x" * 9
    assert not old.exists()


@pytest.mark.parametrize("num_times", [1, 2])
def test_a_disk_that_gets_full_meanwhile_is_no_silence_of_the_store(
    memory: Any, monkeypatch: pytest.MonkeyPatch, num_times: int
) -> None:
    at("a.bin").write_bytes(b"whole")
    left, fetch = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))] * num_times, memory.get_file

    def get_file(self: Any, source: str, target: str) -> None:
        if left:
            Path(target).write_bytes(b"hal")
            raise left.pop()
        fetch(source, target)

    monkeypatch.setattr(type(memory), "get_file", get_file)
    if num_times == 1:
        assert at("a.bin").here().read_bytes() == b"whole"
    else:
        with pytest.raises(DiskFull, match="did not fit on the disk: it had 3 bytes and was not whole"):
            at("a.bin").here()
        assert list(copies_folder().iterdir()) == []

    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"ha")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DiskFull) as raised, replacing(at("b.bin")) as temporary:
        fail(temporary)
    what = raised.value.problems[0].what
    assert what.startswith(f"did not fit on the disk of {copies_folder()}/outgoing: it had 2 bytes")


def test_a_look_asks_once_and_sees_its_own_changes(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        at(f"in/{number}.txt").write_bytes(b"x")
    asked: list[str] = []
    info = memory.info
    monkeypatch.setattr(type(memory), "info", lambda self, path, **k: (asked.append(path), info(path, **k))[1])
    with looking([at("in")]):
        assert [at(f"in/{number}.txt").exists() for number in range(4)] == [True, True, True, False]
        assert [path.name for path in at("in").glob("*.txt")] == ["0.txt", "1.txt", "2.txt"]
        assert asked == []
        for _ in range(3):
            assert not at("elsewhere").exists()
        assert len(asked) == 1
        at("in/3.txt").write_bytes(b"new")
        at("in/0.txt").unlink()
        at("in/1.txt").replace(at("in/4.txt"))
        assert [at(f"in/{number}.txt").exists() for number in range(5)] == [False, False, True, True, True]
    assert not at("elsewhere").exists()


def test_a_look_knows_folders_and_what_is_in_them(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/b/c.txt", "a/d.txt"):
        at(f"in/{name}").write_bytes(b"x")
    with looking([at("in")]):
        monkeypatch.setattr(type(memory), "ls", None)
        monkeypatch.setattr(type(memory), "info", None)
        assert [path.name for path in at("in/a").glob("*")] == ["b", "d.txt"]
        assert [path.name for path in at("in/a/b").glob("*.txt")] == ["c.txt"]
        assert list(at("in/none").glob("*")) == []
        assert (at("in/a/b").is_dir(), at("in/a/d.txt").is_dir(), at("in/b").exists()) == (True, False, False)
        monkeypatch.undo()
        at("in/a/d.txt").unlink()
        at("in/a/e.txt").write_bytes(b"x")
        assert [path.name for path in at("in/a").glob("*")] == ["b", "e.txt"]


def test_files_of_one_stem_are_asked_for_at_once(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.mp4", "a.json", "ab.mp4", "b.mp4"):
        at(f"out/{name}").write_bytes(b"x")
    asked: list[Any] = []
    find = memory.find
    monkeypatch.setattr(type(memory), "find", lambda self, path, **k: (asked.append(k["prefix"]), find(path, **k))[1])
    wanted = [at(f"out/{name}") for name in ("a.mp4", "a.json", "a.png", "b.mp4")]
    assert list(facts_of(wanted)) == [wanted[0], wanted[1], wanted[3]]
    assert asked == ["a.", "b.mp4"]
    # as adlfs answers where the folder is an object
    monkeypatch.setattr(type(memory), "find", lambda self, path, **k: [path])
    assert facts_of(wanted) == {}


def test_copies_have_names_that_a_disk_takes(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = at("a b." + "x" * 240)
    path.write_bytes(b"whole")
    assert path.here().read_bytes() == b"whole"
    path.write_bytes(b"other content")
    monkeypatch.setattr(type(memory), "get_file", lambda self, source, target: Path(target).write_bytes(b"hal"))
    with pytest.raises(CosmosError) as raised:
        path.here()
    assert raised.value.problems[0].where == str(path)


def test_other_copies_are_not_looked_at_for_each_new_one(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    look = copies.Copies._room_beside_others
    monkeypatch.setattr(
        copies.Copies, "_room_beside_others", lambda self, *of: (looks.append(of[0]), look(self, *of))[1]
    )
    for number in range(5):
        at(f"{number}.bin").write_bytes(b"12345")
        at(f"{number}.bin").here()
    assert len(looks) == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_service, "_PAUSES_S", (0.0, 0.0))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("num_failures", [2, 3])
def test_what_was_made_is_written_to_a_store_that_answers_again(
    memory: Any, monkeypatch: pytest.MonkeyPatch, num_failures: int
) -> None:
    put, left = memory.put_file, [OSError("no answer")] * num_failures

    def put_file(self: Any, *paths: str) -> None:
        if left:
            raise left.pop()
        put(*paths)

    monkeypatch.setattr(type(memory), "put_file", put_file)
    if num_failures < 3:
        write_json(at("a.json"), {})
        assert at("a.json").exists()
    else:
        with pytest.raises(CosmosError, match="cannot be reached: no answer"):
            write_json(at("a.json"), {})
        assert not at("a.json").exists()
        assert list((copies_folder() / "outgoing").iterdir()) == []


class Given(StrictModel):
    """As a command has them."""

    anywhere: Anywhere | None = None
    here: Path | None = None
    several: tuple[Path, ...] = ()


def test_fields_of_this_machine_refuse_addresses() -> None:
    assert Given(anywhere=Path("s3://b/x")).anywhere == at("x").parent / "s3://b/x"
    for values in ({"here": "s3://b/x"}, {"here": Path("gs://b/x")}, {"several": ("x", "memory://b")}):
        with pytest.raises(ValueError, match=r"must be a path on this machine, but '\w+://b(/x)?' lies in a store"):
            Given(**values)  # type: ignore[arg-type]
    assert Given.model_validate_json('{"here": "x", "anywhere": "s3://b/x"}').here == Path("x")


def test_a_request_is_read_out_of_a_store(memory: Any) -> None:
    at("a.json").write_bytes(b'{"request": {"here": "x"}}')
    assert read_request_file("memory://bucket/a.json", [Given]) == {"here": "x"}


def test_names_are_judged_as_those_of_files() -> None:
    folder = at("out")
    assert within(folder, "sub/a", field="name", suffix=".mp4") == at("out/sub/a.mp4")
    for name in ("../a", "/a", "s3://other/a"):
        with pytest.raises(InputError, match="leads out"):
            within(folder, name, field="name")
    with pytest.raises(InputError, match="leads out"):
        within(Path("out"), "s3://other/a", field="name")
    with pytest.raises(InputError, match="names no file in a bucket"):
        check_name(at("a").parent, field="name")
    with pytest.raises(InputError, match="no name for a file"):
        check_name(at(".hidden"), field="name")
    with pytest.raises(InputError, match="bytes long"):
        check_name(at("x" * 1000), field="name")
    check_writable(at("new/a.mp4"), field="name", overwrite=False)
    at("new/a.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="exists already"):
        check_writable(at("new/a.mp4"), field="name", overwrite=False)
    with pytest.raises(InputError, match="is an address, and nothing can be written there"):
        check_writable(Path("https://x/a.mp4"), field="name", overwrite=False)


def test_a_store_that_cannot_be_asked_is_one_error(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCredentialsError(Exception):
        """As packages have their own."""

    def fails(error: Exception) -> Any:
        def info(self: Any, path: str, **_: Any) -> Any:
            raise error

        return info

    for error, what in (
        (NoCredentialsError("unable to locate\n credentials"), "cannot be reached: unable to locate credentials"),
        (PermissionError("Access Denied"), "does not let you in: Access Denied"),
        (OSError("5 retries"), "cannot be reached: 5 retries"),
        (NoCredentialsError(), "cannot be reached: NoCredentialsError"),
    ):
        monkeypatch.setattr(type(memory), "info", fails(error))
        with pytest.raises(CosmosError, match=what) as raised:
            at("x").exists()
        assert raised.value.problems[0].where == "memory://bucket/x"

    monkeypatch.setitem(sys.modules, "fsspec", None)
    store_service._connected.cache_clear()
    with pytest.raises(InputError, match="needs the package s3fs") as missing:
        stored(Path("s3://b/x")).exists()
    assert missing.value.problems[0].fix == 'Install it: pip install "cosmos-cli[s3]"'
