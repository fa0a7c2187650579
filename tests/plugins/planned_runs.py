"""Plans and real runs in processes of their own, whose imports and memory count for nothing else."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from typing import Any

import pytest


def in_fresh_process(code: str) -> tuple[Any, float]:
    """What a program prints as JSON, and the seconds that it computed: what else runs on the machine adds none."""
    # other work on the machine must not decide how many threads get to run
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    start = _seconds_of_children()
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), _seconds_of_children() - start


def _seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def assert_quick_and_light(code: str) -> None:
    """A program that prints its plan and `sys.modules` takes at most two seconds and imports no torch."""
    for _ in range(3):  # cores that are shared are slower, and can only add to it
        (document, modules), seconds = in_fresh_process(code)
        assert document["time"]["seconds"] > 0
        assert not {"torch", "transformers", "cv2"} & set(modules)
        if seconds <= 2.0:
            return
    pytest.fail(f"a plan takes {seconds:.1f} s")


def assert_memory_comes_true(calibrate: str, run: str) -> None:
    """After earlier runs, the plan of another is within 25 % of the memory that it takes. Time is a benchmark's matter.

    The first of them also imports what reads a text, some 150 MB of libraries; those after find its embedding.
    """
    for _ in range(2):
        in_fresh_process(calibrate)
    for _ in range(3):  # a system short of memory takes back pages of files, and fewer are counted
        compared, _ = in_fresh_process(run)
        if _is_near(compared["planned"], compared["actual"]):
            break
    check_figures(compared["planned"], compared["actual"])


def _is_near(planned: dict[str, Any], actual: dict[str, Any]) -> bool:
    return bool(planned["host_peak_bytes"] == pytest.approx(actual["host_peak_bytes"], rel=0.25))


def check_figures(planned: dict[str, Any], actual: dict[str, Any]) -> None:
    """The figures of one run as its sidecar has them."""
    assert _is_near(planned, actual), (planned, actual)
    assert set(planned["seconds"]) >= set(actual["seconds"])
