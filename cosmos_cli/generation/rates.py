"""How fast devices compute: a table of GPUs, a quick measurement of this CPU, and what earlier runs here took."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cosmos_cli.errors import CosmosError
from cosmos_cli.files.cache import Cache
from cosmos_cli.files.documents import parse_json
from cosmos_cli.runtime.cards import UNKNOWN, find_card
from cosmos_cli.runtime.machine import Machine

Amount = Literal["attention", "convolution", "loading", "frames"]
"""What a stage does: arithmetic in FLOPs, loading in bytes, reading and writing frames in pixels of all of them."""


_FLOAT32_SHARE = 1 / 16
"""Peak without tensor cores, as float32 runs on a GPU, beside that of bfloat16; that of the A100 and the H100."""
_CONVOLUTION_SHARE = {"cuda": 0.2, "cpu": 0.7}
"""Rate of convolutions beside that of attention and matrix products. Assumed on GPUs, measured on a CPU."""
_CPU_SHARE = 0.5
"""What networks reach of the rate of one large matrix product on the CPU."""
_BFLOAT16_ON_CPU = 0.3
_LOADING_BYTES_PER_S = 1e9
_FRAME_PX_PER_S = 10e6

_PASS_SECONDS = {"cuda": 0.02, "cpu": 0.0045}
"""Python and launches of one evaluation of a network, however small. Assumed on GPUs, measured on a CPU."""
START_SECONDS = 5.0
"""Imports until the first file of weights is read."""
TEXT_START_SECONDS = 0.1
"""Building a text encoder, however small."""

_KEPT_RUNS = 8
_RUNS = "runs"
_RUNS_BYTES = 64 << 20


@dataclass(frozen=True)
class Stage:
    """Something that takes time.

    name: as the sidecar calls it.
    amounts: of each kind of work.
    num_passes: evaluations of a network.
    fixed_s: seconds that it takes without any work.
    """

    name: str
    amounts: Mapping[Amount, float]
    num_passes: int = 0
    fixed_s: float = 0.0

    @property
    def flops(self) -> float:
        return self.amounts.get("attention", 0.0) + self.amounts.get("convolution", 0.0)


@dataclass(frozen=True)
class Rate:
    """FLOP/s of a device in matrix products and attention, and where the number is from."""

    flops_per_s: float
    source: str


@dataclass(frozen=True)
class Run:
    """One earlier run: what its stages had to do, and what they took.

    model: family, command and size. precision: of the networks.
    flops_per_s: the rate that its plan went by.
    stages, seconds: by name.
    baseline_bytes: host memory beyond what its plan had counted.
    """

    device: str
    model: str
    precision: str
    date: str
    flops_per_s: float
    stages: Mapping[str, Stage]
    seconds: Mapping[str, float]
    baseline_bytes: int

    @classmethod
    def read(cls, entry: dict[str, Any]) -> Run:
        """Out of the JSON that `remember` writes. Raises ValueError, TypeError or others: it did not write this."""
        run = cls(**{**entry, "stages": {name: Stage(**stage) for name, stage in entry["stages"].items()}})
        if not all(isinstance(text, str) for text in (run.device, run.model, run.precision, run.date)):
            raise ValueError("a name is no text")
        # plans divide by these numbers and show them
        _check(run.flops_per_s, 1, 1e21)
        _check(run.baseline_bytes, 0, 1e18)
        for stage in run.stages.values():
            for kind, amount in stage.amounts.items():
                _check(amount, 0, 1e30 if kind in get_args(Amount) else -1)
            _check(stage.num_passes, 0, 1e9)
            _check(stage.fixed_s, 0, 1e9)
        for seconds in run.seconds.values():
            _check(seconds, 0, 1e9)
        return run


def _check(number: Any, least: float, most: float) -> None:
    if isinstance(number, bool) or not isinstance(number, int | float) or not least <= number <= most:
        raise ValueError(f"{number!r} is no number from {least:g} to {most:g}")


def find_rate(machine: Machine, precision: str) -> Rate:
    """The rate of a device that has run nothing yet: from the table for a GPU, measured for 0.2 s on a CPU."""
    if machine.kind == "cpu":
        share = _CPU_SHARE * (_BFLOAT16_ON_CPU if precision == "bfloat16" else 1.0)
        return Rate(_matmul_rate() * share, "a matrix product just measured on this machine")
    gpu = find_card(machine.name)
    source = "the table" if gpu else "an assumption: this GPU is in no table"
    row = gpu or UNKNOWN
    peak = row.peak * machine.device_share
    if gpu:
        source += ", measured by NVIDIA" if gpu.measured else ", share of its peak assumed"
    return Rate(peak * row.share * (_FLOAT32_SHARE if precision == "float32" else 1.0), source)


def first_guess_s(stage: Stage, flops_per_s: float, machine: Machine) -> float:
    """Seconds of a stage by the device's rate alone."""
    per_s: Mapping[Amount, float] = {
        "attention": flops_per_s,
        "convolution": flops_per_s * _CONVOLUTION_SHARE[machine.kind],
        "loading": _LOADING_BYTES_PER_S,
        "frames": _FRAME_PX_PER_S,
    }
    work_s = sum(amount / per_s[kind] for kind, amount in stage.amounts.items())
    return stage.fixed_s + stage.num_passes * _PASS_SECONDS[machine.kind] + work_s


def estimate_s(stage: Stage, runs: Sequence[Run], flops_per_s: float, machine: Machine) -> tuple[float, Run | None]:
    """Seconds of a stage: those of the most similar earlier one, scaled by what there is more or less to do.

    Returns:
        The seconds, and the run they go by; None for a first guess.
    """
    now_s = first_guess_s(stage, flops_per_s, machine)
    known = {
        index: first_guess_s(run.stages[stage.name], flops_per_s, machine)
        for index, run in enumerate(runs)
        if stage.name in run.stages and stage.name in run.seconds
    }
    if not known or not now_s:
        return now_s, None
    # the latest of equally similar ones
    index, then_s = min(known.items(), key=lambda item: (abs(math.log((item[1] or 1e-9) / now_s)), -item[0]))
    scale = now_s / then_s if then_s else 1.0
    return runs[index].seconds[stage.name] * scale, runs[index]


def read_runs(cache: Path) -> list[Run]:
    """Runs that `remember` kept, oldest first; what cannot be read is as good as not there."""
    try:
        return read_all(parse_json(_cache(cache).get(_RUNS) or b"[]", where="earlier runs"))
    except (CosmosError, ValueError, LookupError, TypeError, AttributeError):  # another version wrote them
        return []


def read_all(entries: Iterable[Any]) -> list[Run]:
    """Runs out of JSON; a bad one costs itself only."""
    runs = []
    for entry in entries:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            runs.append(Run.read(entry))
    return runs


def remember(cache: Path, run: Run) -> None:
    """Keep a run for the plans to come; of each model on each device the last eight."""
    runs = [*read_runs(cache), run]
    same = [other for other in runs if _identity(other) == _identity(run)]
    forgotten = same[:-_KEPT_RUNS]
    kept = [asdict(other) for other in runs if other not in forgotten]
    _cache(cache).put(_RUNS, json.dumps(kept).encode())


def similar_runs(runs: Sequence[Run], machine: Machine, model: str, precision: str) -> list[Run]:
    """The runs of one model on one device."""
    return [run for run in runs if _identity(run) == (machine.name, model, precision)]


def today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()


def _identity(run: Run) -> tuple[Any, ...]:
    return run.device, run.model, run.precision


def _cache(folder: Path) -> Cache:
    return Cache(folder, "rates", limit_bytes=_RUNS_BYTES)


@functools.cache
def _matmul_rate() -> float:
    """FLOP/s of products of float32 matrices on all cores; a process measures its machine once."""
    import numpy as np

    size = 512
    left = np.ones((size, size), np.float32)
    left @ left  # the threads start
    best_s, end = math.inf, time.perf_counter() + 0.2
    while best_s == math.inf or time.perf_counter() < end:  # once at least, however busy the machine
        start = time.perf_counter()
        left @ left
        best_s = min(best_s, max(time.perf_counter() - start, 1e-9))
    return 2 * size**3 / best_s
