"""What goes to stdout, what to stderr, and in which form."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
import time
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


def test_a_stage_that_takes_long_says_so_now_and_then_where_no_terminal_shows_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosmos_cli.bars.LINE_S", 0.05)
    with output.progress("Denoising", 4) as advance:
        advance()
        time.sleep(0.5)  # one unit that takes longer than the lines are apart
    *lines, last = capsys.readouterr().err.splitlines()
    assert len(lines) > 1
    assert re.fullmatch(r"Denoising: 1 of 4 steps, \d\.\d s so far, about \d\.\d s left", lines[-1])
    assert last.startswith("Denoising 4 steps: ")
    with output.files_progress("Downloading", 4_000_000) as of_file, of_file("a.bin", 4_000_000) as done:
        done(3_000_000)
        done(-1_000_000)
        time.sleep(0.5)
    assert "Downloading: 2 of 4 MB, " in capsys.readouterr().err


def test_columns_of_a_table_line_up() -> None:
    assert output.table(("A", "LONG"), [("wide cell", "x"), ("", "y")]) == "A          LONG\nwide cell  x\n           y"
    assert output.table(("", ""), [("橋", "[b]x")]) == "橋  [b]x"


@pytest.mark.parametrize("columns", [80, 120])
def test_a_table_on_a_terminal_keeps_to_its_width_and_loses_nothing(columns: int) -> None:
    path, words = "checkpoints/" + "folder" * 20 + "/model.pt", "several words " * 12
    code = f"print(output.table(('FILE', 'SIZE', 'ABOUT'), [({path!r}, '4.1 GB', {words!r})]))"
    shown = on_a_terminal(code, columns=columns, shows="stdout").replace("\r", "").splitlines()
    assert max(map(len, shown)) <= columns
    assert "".join(line.partition(" ")[0] for line in shown[1:]) == path
    assert sum(line.count("several") for line in shown) == 12
    assert sum("4.1 GB" in line for line in shown) == 1  # the widest give way, not the others


COMMAND = "cosmos download nvidia/Cosmos-Predict2-2B-Video2World --checkpoint-dir /data/of/all/of/us/checkpoints"


@pytest.mark.parametrize(
    "fix", [COMMAND, f"Fetch it with `{COMMAND}`, or choose --model tiny.\n{COMMAND}", f"Fetch it with: {COMMAND}"]
)
def test_commands_and_paths_of_an_error_can_be_copied_from_a_narrow_terminal(fix: str) -> None:
    path = "/data/of/all/of/us/checkpoints/nvidia/Cosmos-Predict2-2B-Video2World/model-720p-16fps.pt"
    failure = f"CheckpointError('a b ' * 40, where={path!r}, fix={fix!r})"
    code = f"from cosmos_cli.errors import CheckpointError\noutput.error({failure})"
    shown = re.sub(r"\x1b\[[\d;]*m", "", on_a_terminal(code).replace("\r", "")).splitlines()
    assert shown[0].startswith("╭─ Checkpoint missing or damaged ──")
    assert path in shown
    assert sum(COMMAND in line for line in shown) == fix.count(COMMAND)
    assert not any(side in line for line in shown[1:-1] for side in "│|")
    assert all(len(line) <= 80 for line in shown if COMMAND not in line and path not in line)


def on_a_terminal(code: str, *, columns: int = 80, shows: str = "stderr") -> str:
    """What a program writes on a terminal, which is its stderr or its stdout; nothing may come from the other."""
    terminal, shown_on = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
    program = f"from cosmos_cli import output\noutput.configure(speaking=True)\n{code}"
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {shows: shown_on}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, **streams)  # type: ignore[call-overload]
    os.close(shown_on)
    pieces = []
    with contextlib.suppress(OSError):  # Linux says so when the other end is closed
        while piece := os.read(terminal, 65536):
            pieces.append(piece)
    os.close(terminal)
    others = process.communicate()
    shown = b"".join(pieces).decode()
    assert process.returncode == 0, shown
    assert not any(others)
    return shown


def last_line(shown: str) -> str:
    return shown.splitlines()[-1].lstrip("\x1b[0123456789;?hlKAm\r")


def test_a_terminal_sees_a_bar_that_leaves_one_line_behind() -> None:
    shown = on_a_terminal("with output.progress('Denoising', 2) as advance:\n    advance(); advance()\n")
    assert "2/2" in shown
    assert last_line(shown).startswith("Denoising 2 steps: ")


FILES = """
import time
from threading import Barrier, Thread
def work(of_file, name, num_bytes, all_are_there):
    with of_file(name, num_bytes) as advance:
        advance(num_bytes); advance(-num_bytes); advance(num_bytes)
        all_are_there.wait()
        time.sleep(0.5)
with output.files_progress("Downloading", 3_000_000) as of_file:
    two = Barrier(2)
    both = [Thread(target=work, args=(of_file, name, 1_000_000, two)) for name in ("[a].bin", "b.bin")]
    [thread.start() for thread in both]
    [thread.join() for thread in both]
    output.status("two of three")
    work(of_file, "c.bin", 1_000_000, Barrier(1))
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
