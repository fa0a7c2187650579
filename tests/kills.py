"""A command that is killed at random moments and started again, see `killed_again_and_again`.

A program of its own: it imports what the command needs once and splits into a process for every attempt.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cosmos_cli.testing import run_cosmos

ROOT = Path(__file__).parent.parent


def killed_again_and_again(
    line: Sequence[object], grows: Path, *, needs: str, times: int = 6, longest_s: float = 1.0
) -> int:
    """Start a command line so many times, each going on from what the one before left; how many were killed.

    Each is killed at a random moment, `longest_s` at most after a file of it has changed.

    Args:
        grows: that file.
        needs: the module that takes long to import.
    """
    told = json.dumps([[*map(str, line)], str(grows.absolute()), needs, times, longest_s])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.kills", told]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


def _killed(line: list[str], grows: Path, moments: random.Random, longest_s: float) -> bool:
    before = _content(grows)
    pid = os.fork()
    if not pid:
        os.dup2(2, 1)
        os._exit(run_cosmos(*line).exit_code)
    ended, status = 0, 0
    while not ended and _content(grows) == before:
        time.sleep(0.005)
        ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        time.sleep(longest_s * moments.random())
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def main() -> None:
    line, grows, needs, times, longest_s = json.loads(sys.argv[1])
    importlib.import_module(needs)
    moments = random.Random(0)
    count = sum(_killed(line, Path(grows), moments, longest_s) for _ in range(times))
    os.write(1, f"\n{count}\n".encode())


if __name__ == "__main__":
    main()
