"""Whatever a command is doing when it is told to stop, it ends with 130, without a traceback and without half files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cosmos_cli.interrupts import MESSAGE, ONE_STOP_S
from tests.third_party import write_distribution
from tests.waiting import PATIENCE_S, until

STAY = '''
"""A family whose command stays until it is stopped, busy with what it is told."""

import atexit
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import typer
from cosmos_cli.files.writing import replacing
from cosmos_cli.hookspecs import hookimpl

@hookimpl
def cosmos_register_families(register):
    register(name="stay", help="Stays.", commands="stay:app")

app = typer.Typer()

@app.callback()
def stay() -> None:
    """Stays."""

def wait(seconds: float = 60) -> None:
    Path("here").touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)

def swallow() -> None:
    try:
        wait()
    except BaseException:
        pass

class Destroyed:
    def __del__(self) -> None:
        wait()

def convert() -> None:
    try:
        wait()
    except BaseException as error:
        raise ValueError("made in native code") from error

def clean_up(seconds: float) -> None:
    try:
        wait()
    finally:
        Path("cleaning").touch()
        time.sleep(seconds)
        Path("cleaned").touch()

def in_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(time.sleep, 0.5)
        pool.submit(wait, 1.5).result()
        wait()

@app.command()
def here(how: str = "wait") -> None:
    """Stay."""
    with replacing(Path("made.txt")) as temporary:
        temporary.write_text("half")
        if how == "wait":
            wait()
        if how == "swallow":
            swallow()
            wait()
        if how == "destructor":
            Destroyed()
            wait()
        if how == "convert":
            convert()
        if how == "import":
            try:
                import slow_module
            except BaseException:
                wait()
        if how == "thread":
            in_thread()
        if how == "clean up":
            clean_up(0.5)
        if how == "clean up for ever":
            clean_up(60)
    if how == "end":
        atexit.register(wait)
'''

MARK = """
import os, sys
def mark(event, arguments):
    if event == "import" and arguments[0] == "cosmos_cli.main":
        os.write(3, b".")
sys.addaudithook(mark)
"""
"""As sitecustomize: tells when `cosmos_cli.main` begins to be imported, the first that is after `interrupts.begin`."""

SCRIPT = """
import re, sys
from {module} import {function}
sys.exit({function}())
"""
"""What installers write for an entry point."""


def entries(folder: Path) -> dict[str, list[str]]:
    """The two ways in; the script as `pyproject.toml` now says, not as it was when this environment was made."""
    said = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    module, function = re.search(r'^cosmos = "(.*):(.*)"$', said, re.MULTILINE).groups()  # type: ignore[union-attr]
    script = folder / "cosmos-script.py"
    script.write_text(SCRIPT.format(module=module, function=function))
    return {"script": [sys.executable, str(script)], "module": [sys.executable, "-m", "cosmos_cli"]}


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a command in a folder of its own, whatever signals this process ignores."""
    packages = tmp_path / "packages"
    write_distribution(packages, "stay", {"stay": STAY}, {"stay": "stay"})
    (packages / "slow_module.py").write_text("import stay\nstay.wait()\n")
    monkeypatch.setenv("PYTHONPATH", str(packages))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: object, entry: str = "script", ignoring: int | None = None) -> subprocess.Popen[str]:
        folder = Path(f"run{len(started)}")
        folder.mkdir()

        def dispositions() -> None:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN if number == ignoring else signal.SIG_DFL)

        command = [*entries(tmp_path)[entry], *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, text=True, cwd=folder, preexec_fn=dispositions, **pipes))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def appears(path: Path) -> None:
    until(path.exists, path.name)


def check_stopped(process: subprocess.Popen[str], folder: Path) -> str:
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, stdout) == (130, ""), stderr
    assert "Traceback" not in stderr and "rror" not in stderr
    assert stderr.count(MESSAGE) == 1, stderr
    assert not [path.name for path in folder.iterdir() if "part" in path.name or path.name == "made.txt"]
    return stderr


def stopped_after(delay_s: float, number: int, entry: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Start a command, wait until its first line of ours has run, and stop it so much later."""
    folder.mkdir()
    reader, writer = os.pipe()

    def third() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.dup2(writer, 3)

    process = subprocess.Popen(
        [*entry, "stay", "here"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment,
        preexec_fn=third,
        pass_fds=[3],
    )
    os.close(writer)
    assert os.read(reader, 1) == b"."
    os.close(reader)
    time.sleep(delay_s)
    process.send_signal(number)
    check_stopped(process, folder)


def test_a_signal_at_any_moment_of_the_start_ends_in_130_without_a_traceback(start: Start, tmp_path: Path) -> None:
    (tmp_path / "packages" / "sitecustomize.py").write_text(MARK)
    numbers, ways = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP), list(entries(tmp_path).values())
    moments = [
        (0.4 * (i / 24) ** 2, numbers[i % 3], ways[i % 2], tmp_path / f"moment{i}", dict(os.environ)) for i in range(25)
    ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(stopped_after, *zip(*moments, strict=True)))


@pytest.mark.parametrize("how", ["wait", "swallow", "destructor", "convert", "import", "thread", "clean up", "end"])
def test_nothing_swallows_a_stop(start: Start, how: str) -> None:
    process, folder = start("stay", "here", "--how", how), Path("run0")
    appears(folder / "here")
    if how == "end":
        (folder / "made.txt").unlink()  # it was finished before
    process.send_signal(signal.SIGINT)
    stopped = time.monotonic()
    check_stopped(process, folder)
    assert time.monotonic() - stopped < 40  # and not as long as it would have stayed
    assert (folder / "cleaned").exists() == (how == "clean up")


def test_signals_that_come_together_are_one_and_leave_time_to_clean_up(start: Start) -> None:
    process, folder = start("stay", "here", "--how", "clean up"), Path("run0")
    appears(folder / "here")
    process.send_signal(signal.SIGTERM)
    appears(folder / "cleaning")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    check_stopped(process, folder)
    assert (folder / "cleaned").exists()


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)])
def test_a_second_signal_leaves_at_once_and_leaves_no_half_files(start: Start, numbers: tuple[int, int]) -> None:
    process, folder = start("stay", "here", "--how", "clean up for ever"), Path("run0")
    appears(folder / "here")
    process.send_signal(numbers[0])
    appears(folder / "cleaning")
    time.sleep(ONE_STOP_S + 0.1)
    assert process.poll() is None
    process.send_signal(numbers[1])
    check_stopped(process, folder)
    assert not (folder / "cleaned").exists()


def test_nohup_goes_on_without_its_terminal(start: Start) -> None:
    process, folder = start("stay", "here", ignoring=signal.SIGHUP), Path("run0")
    appears(folder / "here")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    check_stopped(process, folder)
