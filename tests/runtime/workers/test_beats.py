"""Who does not answer: silence counts while the listener itself runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cosmos_cli.runtime.workers import beats, worker
from cosmos_cli.runtime.workers.beats import Listener, Silence


def test_the_one_that_leaves_no_mark_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for rank in range(4):
        (tmp_path / str(rank)).mkdir()
    listener = Listener(tmp_path)
    for rank in range(3):  # the fourth never begins
        beats.beat(tmp_path / str(rank))
    (tmp_path / "1" / "step").write_text("Adding")
    for _ in range(30):
        now += 0.2
        mark = tmp_path / "0" / "beat"
        os.utime(mark, ns=(0, int(now * 1e9)))
        assert listener.listen() == 0
    beats.end(tmp_path / "2")
    found = listener.silent(5)
    assert {(silence.rank, silence.pid, silence.step) for silence in found} == {
        (1, os.getpid(), "Adding"),
        (3, None, ""),
    }
    assert [silence.rank for silence in listener.silent(5, begun=True)] == [1]
    assert not listener.silent(10)
    now += 3600  # all were stopped, and go on
    assert listener.listen() == pytest.approx(3599)
    assert not listener.silent(10)


def test_only_a_child_of_the_launcher_is_killed() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    silence = Silence(1, 5.0, "", process.pid)
    silence.kill(os.getpid() + 1)
    assert process.poll() is None
    process.send_signal(signal.SIGSTOP)
    silence.kill(os.getpid())
    assert process.wait(10) == -signal.SIGKILL
    silence.kill(os.getpid())  # it is gone


def test_a_step_that_begins_while_the_watch_listens_is_no_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = []
    calls = iter(["first", "second"])

    def listen(self: Listener) -> float:
        if next(calls) == "second":
            raise SystemExit  # ends the thread of the watch
        worker.step("starting torch")  # of the main thread, in between
        return 0.0

    monkeypatch.setattr(Listener, "listen", listen)
    monkeypatch.setattr(worker, "_report_hang", lambda *given: hangs.append(given))
    monkeypatch.setattr(worker, "_step_began", -1e6)  # long ago
    monkeypatch.setattr(worker, "_watched_timeout_s", 1800.0)
    reader, writer = os.pipe()
    try:
        with pytest.raises(SystemExit):
            worker._watch(reader)
    finally:
        os.close(reader)
        os.close(writer)
    assert not hangs
