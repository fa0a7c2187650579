"""Messages may be lost, work is not: a closed, full or vanished stream ends nothing."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.third_party import COSMOS

IMAGE = f"{COSMOS} predict2 text2image --model tiny --prompt street --num-steps 1 --device cpu --save-path a.png"
ROOT = Path(__file__).parent.parent


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, timeout=120)


def is_made() -> bool:
    return Path("a.png").is_file() and Path("a.json").is_file()


@pytest.mark.parametrize("streams", ["2>&1 | head -1", "2>/dev/full", "<&- 2>&-"])
def test_without_stderr_the_run_ends_as_it_would_have(streams: str) -> None:
    ended = shell(f"{IMAGE} {streams}")
    assert ended.returncode == 0, ended.stderr
    assert is_made()
    assert ended.stderr == ""


def test_a_terminal_that_went_away_ends_nothing() -> None:
    terminal, stderr = pty.openpty()
    process = subprocess.Popen(IMAGE.split(), stderr=stderr, stdout=subprocess.PIPE, start_new_session=True)
    os.close(stderr)
    os.close(terminal)  # every write gives EIO from now on
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert is_made()


def test_workers_go_on_without_stderr() -> None:
    assert shell(f"{IMAGE} --num-gpus 2 --parallel cfg=2 2>&-").returncode == 0
    assert is_made()


@pytest.mark.parametrize(("arguments", "code"), [("nothing", 2), ("predict2 text2image --model none", 2)])
def test_an_error_that_nobody_reads_keeps_its_code(arguments: str, code: int) -> None:
    for streams in ("2>/dev/full", ">&- 2>&- <&-"):
        assert shell(f"{COSMOS} {arguments} {streams}").returncode == code


def test_results_that_cannot_be_told_are_an_error_and_the_files_are_there() -> None:
    closed = shell(f"{COSMOS} plugins list >&-")
    assert (closed.returncode, "could not write to stdout" in closed.stderr) == (1, True)
    ended = shell(f"{IMAGE} > /dev/full")
    assert ended.returncode == 1
    assert "could not write to stdout" in ended.stderr
    assert "Traceback" not in ended.stderr and "Exception ignored" not in ended.stderr
    assert is_made()


def test_who_reads_the_first_row_of_a_benchmark_s_list_sees_no_traceback() -> None:
    # nobody reads at all: what is written first fails already
    ended = shell(f"{sys.executable} {ROOT}/benchmarks/gpu.py --list | sleep 0")
    assert (ended.returncode, ended.stderr) == (0, "")


LIBRARIES = """
from cosmos_cli import output
output.keep_streams()
output.configure(speaking=True)
import logging, sys, threading, traceback, warnings
from rich.console import Console
from rich.progress import track
warnings.warn("careful")
logging.basicConfig(); logging.error("lost")
threading.Thread(target=lambda: 1 / 0).start()
for _ in track(range(3), console=Console(stderr=True, force_terminal=True)): pass
with output.progress("Denoising", 2) as advance: advance()
sys.stderr.write("half a line"); sys.stderr.flush()
try: 1 / 0
except ZeroDivisionError: traceback.print_exc()
print("done")
"""


@pytest.mark.parametrize("streams", ["2>/dev/full", "2>&-", "2> >(true)"])
def test_what_libraries_write_is_lost_and_nothing_else(tmp_path: Path, streams: str) -> None:
    (tmp_path / "program.py").write_text(LIBRARIES)
    ended = shell(f"{sys.executable} {tmp_path}/program.py {streams}")
    assert (ended.returncode, ended.stdout) == (0, "done\n")


def test_a_secret_that_a_library_writes_is_hidden(tmp_path: Path) -> None:
    said = LIBRARIES.replace('"careful"', '"s3cr3t-value"').replace('"lost"', '"s3cr3t-value"')
    (tmp_path / "program.py").write_text(said)
    ended = shell(f"HF_TOKEN=s3cr3t-value {sys.executable} {tmp_path}/program.py")
    assert ended.returncode == 0
    assert "s3cr3t" not in ended.stderr and "***" in ended.stderr and "ZeroDivisionError" in ended.stderr
