"""What goes to stdout, what to stderr, and in which form."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cosmos_cli import output
from cosmos_cli.errors import InputError, Problem


@pytest.fixture(autouse=True)
def speaking() -> Iterator[None]:
    output.configure(speaking=True)
    yield
    output.configure(speaking=False)


def test_stdout_holds_the_result_and_stderr_everything_else(capsys: pytest.CaptureFixture[str]) -> None:
    output.status("Loading")
    output.notice("no guardrail is installed")
    with output.progress("Denoising", 3) as advance:
        for _ in range(3):
            advance()
    output.result("video.mp4", {"video": "video.mp4"})
    captured = capsys.readouterr()
    assert captured.out == "video.mp4\n"
    status, notice, progress = captured.err.splitlines()
    assert (status, notice) == ("Loading", "note: no guardrail is installed")
    assert progress.startswith("Denoising 3 steps: ")


def test_json_prints_one_document_that_holds_the_notices(capsys: pytest.CaptureFixture[str]) -> None:
    output.use_json(True)
    output.notice("said once")
    output.notice("said once")
    output.result("for people", {"status": "ok", "name": "Straße"})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"status": "ok", "name": "Straße", "notices": ["said once"]}
    assert "Straße" in captured.out
    assert captured.err == "note: said once\n"


def test_a_library_says_nothing_but_keeps_its_notices(capsys: pytest.CaptureFixture[str]) -> None:
    output.configure(speaking=False)
    output.status("Loading")
    output.notice("careful")
    with output.progress("Denoising", 3) as advance:
        advance()
    assert capsys.readouterr() == ("", "")
    assert output.notices() == ["careful"]


def test_a_new_command_begins_without_the_notices_and_the_form_of_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    output.use_json(True)
    output.notice("old")
    output.configure(speaking=True)
    output.result("plain", {})
    assert capsys.readouterr().out == "plain\n"
    assert output.notices() == []


FAILURE = InputError(
    "is not [bold]there[/bold].", where="--input-path", fix="Give it.", others=[Problem("is odd.", "--seed")]
)


def test_the_error_panel_shows_what_where_and_what_to_do_of_every_problem(capsys: pytest.CaptureFixture[str]) -> None:
    output.error(FAILURE)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line.strip("│ ") for line in captured.err.splitlines()]
    assert "Bad input" in lines[0]
    # brackets of a message are text, not markup
    assert lines[1:-1] == ["--input-path", "is not [bold]there[/bold].", "Give it.", "", "--seed", "is odd."]
    assert "\x1b" not in captured.err


def test_the_error_document_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    output.use_json(True)
    output.error(FAILURE)
    assert json.loads(capsys.readouterr().out) == {
        "status": "failed",
        "exit_code": 2,
        "error": "Bad input",
        "problems": [
            {"what": "is not [bold]there[/bold].", "where": "--input-path", "fix": "Give it."},
            {"what": "is odd.", "where": "--seed", "fix": None},
        ],
        "notices": [],
    }


def test_progress_fails_with_the_stage_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), output.progress("Denoising", 3):
        raise RuntimeError
    assert capsys.readouterr().err == ""  # no "Denoising: 0.0 s" as if it were done


def test_columns_of_a_table_line_up() -> None:
    assert output.table(("A", "LONG"), [("wide cell", "x"), ("", "y")]) == "A          LONG\nwide cell  x\n           y"


def on_a_terminal(code: str) -> str:
    """What a program writes on a terminal of 80 columns."""
    terminal, stderr = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    program = f"from cosmos_cli import output\noutput.configure(speaking=True)\n{code}"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=stderr, env=environment)
    os.close(stderr)
    pieces = []
    with contextlib.suppress(OSError):  # Linux says so when the other end is closed
        while piece := os.read(terminal, 65536):
            pieces.append(piece)
    os.close(terminal)
    stdout, _ = process.communicate(timeout=60)
    shown = b"".join(pieces).decode()
    assert (process.returncode, stdout) == (0, b""), shown
    return shown


def last_line(shown: str) -> str:
    return shown.splitlines()[-1].lstrip("\x1b[0123456789;?hlKAm\r")


def test_a_terminal_sees_a_bar_that_leaves_one_line_behind() -> None:
    shown = on_a_terminal("with output.progress('Denoising', 2) as advance:\n    advance(); advance()\n")
    assert "2/2" in shown
    assert last_line(shown).startswith("Denoising 2 steps: ")


FILES = """
import time
from threading import Thread
def work(of_file, name, num_bytes):
    with of_file(name, num_bytes) as advance:
        advance(num_bytes); advance(-num_bytes); advance(num_bytes)
        time.sleep(0.5)
with output.files_progress("Downloading", 3_000_000) as of_file:
    both = [Thread(target=work, args=(of_file, name, 1_000_000)) for name in ("[a].bin", "b.bin")]
    [thread.start() for thread in both]
    [thread.join() for thread in both]
    output.status("two of three")
    work(of_file, "c.bin", 1_000_000)
"""


def test_a_terminal_sees_a_bar_for_each_file_at_work_and_one_for_all() -> None:
    shown = on_a_terminal(FILES)
    # escape sequences apart, each screen of bars begins with that of all
    screens = [screen for screen in shown.split("Downloading")[1:] if "bin" in screen]
    assert any("[a].bin" in screen and "b.bin" in screen and "2.0/3.0 MB" in screen for screen in screens)
    assert any("c.bin" in screen and "3.0/3.0 MB" in screen and "b.bin" not in screen for screen in screens)
    assert "two of three" in shown
    assert last_line(shown).startswith("Downloading 3 MB: ")


def test_elsewhere_work_on_files_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with output.files_progress("Downloading", 2_000_000) as of_file, of_file("a.bin", 2_000_000) as advance:
        advance(2_000_000)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("Downloading 2 MB: ")


class Stream(io.TextIOWrapper):
    """A stream of one encoding, and what was written to it."""

    def __init__(self, encoding: str, errors: str = "strict") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors=errors)

    @property
    def written(self) -> bytes:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue()


NAMES = ["Straße.mp4", "橋.mp4", "😀.mp4", os.fsdecode(b"caf\xe9.mp4")]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_a_stream_that_cannot_show_a_name_gets_the_same_document(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(encoding)
    monkeypatch.setattr("sys.stdout", stream)
    output.data({"videos": NAMES})
    assert json.loads(stream.written.decode(encoding)) == {"videos": NAMES}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_stream_that_cannot_show_a_name_gets_a_line_for_people_all_the_same(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, errors = Stream(encoding), Stream(encoding)
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", errors)
    for name in NAMES:
        output.text(name)
        output.status(name)
    lines = stream.written.decode(encoding).splitlines()
    assert len(lines) == len(NAMES)
    assert all(line.endswith(".mp4") for line in lines)
    assert lines[-1] == r"caf\udce9.mp4"
    assert errors.written == stream.written


def test_a_stream_that_passes_bytes_on_gets_the_name_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream("utf-8", "surrogateescape")  # as Python has it in the C locale
    monkeypatch.setattr("sys.stdout", stream)
    output.text(NAMES[-1])
    output.data(NAMES[-1:])
    assert stream.written == b'caf\xe9.mp4\n[\n  "caf\\udce9.mp4"\n]\n'
