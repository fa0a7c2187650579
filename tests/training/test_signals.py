"""A training that is told to stop finishes its step, saves, and leaves with an exit code that schedulers understand."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cosmos_cli.interrupts import ASKED_EXIT_CODE, EXIT_CODE, ONE_STOP_S
from cosmos_cli.runtime.workers.worker import GRACE_S
from tests.third_party import COSMOS, write_distribution
from tests.waiting import PATIENCE_S, runs, until

SAVE_S = 60
"""Of who is not to be waited for."""

WALK = '''
"""A family that makes steps until it is stopped, and then saves."""

import os
import time
from pathlib import Path

import typer
from cosmos_cli.hookspecs import hookimpl
from cosmos_cli.runtime.workers.launch import spread
from cosmos_cli.training.signals import Stopping

@hookimpl
def cosmos_register_families(register):
    register(name="walk", help="Walks.", commands="walk:app")

app = typer.Typer()

@app.callback()
def walk() -> None:
    """Walks."""

@app.command()
def on(num_gpus: int = 1, device: str = "cpu", save_s: float = 0, dies: bool = False) -> None:
    """Walk on."""
    rank = os.environ.get("RANK", "0")
    with Stopping() as stopping, spread(num_gpus, device):
        steps = 0
        while not stopping.asked():
            steps += 1
            Path(f"pid{rank}").write_text(str(os.getpid()))
            time.sleep(0.02)
            if dies and rank == "1" and steps == 5:
                os.kill(os.getpid(), 9)
        Path(f"saving{rank}").touch()
        time.sleep(save_s)
        Path(f"saved{rank}").write_text(str(steps))
    raise typer.Exit(stopping.exit_code)
'''

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start the command in an empty folder."""
    write_distribution(tmp_path / "packages", "walk", {"walk": WALK}, {"walk": "walk"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: object) -> subprocess.Popen[str]:
        command = [str(COSMOS), "walk", "on", *map(str, arguments)]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_for(*names: str) -> None:
    for name in names:
        until(lambda name=name: Path(name).exists() and (name.startswith("sav") or Path(name).read_text()), name)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, ASKED_EXIT_CODE), (signal.SIGUSR1, ASKED_EXIT_CODE), (signal.SIGINT, EXIT_CODE)],
)
def test_one_process_finishes_its_step_and_saves(start: Start, number: int, code: int) -> None:
    process = start()
    wait_for("pid0")
    process.send_signal(number)
    process.send_signal(signal.SIGTERM)  # asking twice is asking
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, stderr
    assert Path("saved0").exists()
    assert "Traceback" not in stderr


def test_a_second_ctrl_c_leaves_at_once(start: Start) -> None:
    process = start("--save-s", SAVE_S)
    wait_for("pid0")
    process.send_signal(signal.SIGINT)
    wait_for("saving0")
    time.sleep(ONE_STOP_S + 0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=SAVE_S - 10)
    assert process.returncode == EXIT_CODE
    assert not Path("saved0").exists()
    assert "Traceback" not in stderr


def test_the_launcher_hands_a_signal_on_and_waits_as_long_as_the_save_takes(start: Start) -> None:
    process = start("--num-gpus", 2, "--save-s", GRACE_S + 1)
    wait_for("pid0", "pid1")
    process.send_signal(signal.SIGUSR1)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == ASKED_EXIT_CODE, stderr
    assert Path("saved0").read_text() == Path("saved1").read_text()  # all leave after the same step
    assert "Traceback" not in stderr


def test_sigterm_to_launcher_and_workers_as_schedulers_send_it_saves(start: Start) -> None:
    process = start("--num-gpus", 2)
    wait_for("pid0", "pid1")
    for pid in (process.pid, *(int(Path(f"pid{rank}").read_text()) for rank in range(2))):
        os.kill(pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == ASKED_EXIT_CODE, stderr
    assert Path("saved0").read_text() == Path("saved1").read_text()


def test_ctrl_c_in_the_launcher_saves_once_and_leaves_at_once_the_second_time(start: Start) -> None:
    process = start("--num-gpus", 2, "--save-s", SAVE_S)
    wait_for("pid0", "pid1")
    process.send_signal(signal.SIGINT)
    wait_for("saving0", "saving1")
    time.sleep(ONE_STOP_S + 0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=SAVE_S - 10)
    assert process.returncode == EXIT_CODE, stderr
    assert not Path("saved0").exists()
    for rank in range(2):
        assert not runs(int(Path(f"pid{rank}").read_text()))


def test_a_worker_that_dies_does_not_leave_the_others_saving(start: Start) -> None:
    process = start("--num-gpus", 2, "--dies")
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "rank 1" in stderr
    assert "SIGKILL" in stderr
    assert not Path("saved0").exists()
