"""Outputs are one process's while it makes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files import outputs
from cosmos_cli.files.locks import try_lock
from cosmos_cli.files.outputs import check_writable, claim, making
from cosmos_cli.files.writing import replacing, write_json

HOLDING = """
import sys, time
from pathlib import Path
from cosmos_cli.files.outputs import making
from cosmos_cli.files.writing import replacing
with making([Path("a.mp4"), Path("a.json")], overwrite=True), replacing(Path("a.mp4")) as temporary:
    temporary.write_text("half")
    print("making", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other() -> subprocess.Popen[bytes]:
    """Another process that makes a.mp4 and a.json."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def hidden() -> list[Path]:
    return list(Path().glob(".*"))


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_another_process_makes_is_refused_until_it_ends_and_nothing_of_it_stays(
    other: subprocess.Popen[bytes], overwrite: bool
) -> None:
    Path("linked").symlink_to(".")
    for path in (Path("a.json"), Path("linked/a.json")):
        with (
            pytest.raises(InputError, match=f"process {other.pid} on .* is making it"),
            making([path], overwrite=overwrite),
        ):
            pass
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert len(hidden()) == 3  # two claims, and half a file
    check_writable(Path("a.mp4"), field="--save-path", overwrite=False)
    check_writable(Path("a.json"), field="--save-path", overwrite=False)
    assert not hidden()
    with making([Path("a.json")], overwrite=overwrite):
        write_json(Path("a.json"), {})
    assert not hidden()


@pytest.mark.parametrize("owner", ["this process", "another machine"])
def test_remains_go_where_the_number_of_the_dead_process_is_another_s_by_now(
    other: subprocess.Popen[bytes], owner: str
) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    [remains] = Path().glob(".cosmos-*.part.mp4")
    start, host, _, token = remains.name.rsplit("-", 3)
    remains.rename(f"{start}-{host}-{os.getpid()}-{token}" if owner == "this process" else f"{start}-0-1-{token}")
    check_writable(Path("a.mp4"), field="--save-path", overwrite=False)
    check_writable(Path("a.json"), field="--save-path", overwrite=False)
    assert not hidden()


def test_what_somebody_puts_there_meanwhile_is_kept() -> None:
    with pytest.raises(InputError, match="exists already"), making([Path("a.mp4")], overwrite=False):
        with replacing(Path("a.mp4")) as temporary:
            temporary.write_text("mine")
        Path("a.mp4").write_text("precious")
    assert Path("a.mp4").read_text() == "precious"
    assert not hidden()


def test_of_many_who_want_one_file_at_once_one_gets_it() -> None:
    got: list[int] = []
    refused: list[int] = []
    all_here = threading.Barrier(8)

    def want(number: int) -> None:
        all_here.wait()
        try:
            with making([Path("a.json")], overwrite=False):
                write_json(Path("a.json"), number)
                got.append(number)
        except InputError:
            refused.append(number)

    threads = [threading.Thread(target=want, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert Path("a.json").read_text() == f"{got[0]}\n"
    assert not hidden()


def test_a_folder_that_is_moved_meanwhile_gets_nothing_and_none_is_made_in_its_place() -> None:
    with pytest.raises(CosmosError, match="moved or removed"), making([Path("out/a.json")], overwrite=False):
        write_json(Path("out/a.json"), 1)
        Path("out").rename("elsewhere")
        Path("out").mkdir()
    assert not Path("out").exists()


def test_folders_that_were_made_for_nothing_go_again() -> None:
    with pytest.raises(RuntimeError), making([Path("new/er/a.json")], overwrite=False):
        raise RuntimeError
    assert not Path("new").exists()


def test_without_locks_it_goes_on_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from cosmos_cli import output

    def no_locks(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    output.configure(speaking=False)
    with making([Path("a.json")], overwrite=False):
        outputs.clear_up(Path("a.json"))  # by another process, say: it cannot know that nobody is at it
        assert hidden()
        write_json(Path("a.json"), 1)
    assert any("knows no locks" in notice for notice in output.notices())
    assert Path("a.json").exists()


def test_a_planted_link_is_not_followed() -> None:
    Path("precious").write_text("mine")
    taken = claim([Path("a.json")])
    [place] = hidden()
    taken.release()
    place.symlink_to("precious")
    with pytest.raises(CosmosError), making([Path("a.json")], overwrite=False):
        write_json(Path("a.json"), 1)
    assert Path("precious").read_text() == "mine"


def test_a_planted_pipe_keeps_nobody_waiting() -> None:
    taken = claim([Path("a.json")])
    [place] = hidden()
    taken.release()
    os.mkfifo(place)
    with pytest.raises(CosmosError), making([Path("a.json")], overwrite=False):
        write_json(Path("a.json"), 1)
    holder = try_lock(place)  # as if somebody made it
    assert holder is not None
    with pytest.raises(InputError, match="another process is making it"), making([Path("a.json")], overwrite=False):
        pass
    holder.release()
