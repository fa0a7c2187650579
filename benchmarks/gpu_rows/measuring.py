"""Measuring one row: built, warmed up, repeated as often as two minutes allow, and gone from the device afterwards."""

from __future__ import annotations

import gc
import statistics
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from benchmarks.gpu_rows.cases import Case, HostToDevice
from benchmarks.gpu_rows.results import DONE, FAILED, MISSING
from benchmarks.gpu_rows.rows import ROW_SECONDS, shortcuts_of
from benchmarks.gpu_rows.steps import prepare
from cosmos_cli.errors import InputError
from cosmos_cli.runtime.devices import computing

WANTED_REPEATS, MOST_REPEATS, SHORT_SECONDS = 3, 20, 3.0
"""Repeats of a call, and how many more of a short one: as many as these seconds hold."""


def measure(case: Case, device: torch.device, *, compute: Callable[..., Any] = prepare) -> dict[str, Any]:
    """What a row's record says of its measurement; nothing that goes wrong in it is raised, but for Ctrl-C.

    Args:
        compute: builds the case and gives what is to be called, see `prepare`.
    """
    try:
        return {"status": DONE, **_measured(case, device, compute)}
    except (ImportError, InputError, NotImplementedError) as error:
        return _ended(MISSING, error)
    except Exception as error:  # the border: a row costs itself alone
        return _ended(FAILED, error)
    finally:
        _release(device)


def answers(device: torch.device) -> bool:
    """Whether a device still computes for this process: some errors leave it unusable until the next one."""
    try:
        return bool(torch.ones(1, device=device).item() == 1.0)
    except RuntimeError:
        return False


def _release(device: torch.device) -> None:
    """Give back what a row held; errors must be gone by then, since their traces hold tensors."""
    gc.collect()
    if device.type == "cuda" and answers(device):
        torch.cuda.empty_cache()


def more_repeats(first_s: float, seconds_left: float) -> int:
    """How often to repeat a call that took `first_s`: three times in all, a short one more often, if there is time."""
    wanted = max(WANTED_REPEATS, min(MOST_REPEATS, int(SHORT_SECONDS / first_s)))
    return max(0, min(wanted - 1, int(seconds_left / first_s)))


def _measured(case: Case, device: torch.device, compute: Callable[..., Any]) -> dict[str, Any]:
    is_cuda = device.type == "cuda"
    start = time.perf_counter()
    with torch.inference_mode(), computing(device, shortcuts_of(case)), ExitStack() as stack:
        call = compute(case, device, stack)
        setup_s = _synchronised(device) - start
        if is_cuda:
            torch.cuda.reset_peak_memory_stats(device)
        warm_up_s = _timed(call, device)
        seconds: list[float] = []
        # what compiles is no measure of the next call
        next_s = case.call_s if getattr(case, "compiler", "") else warm_up_s
        if time.perf_counter() - start + next_s <= ROW_SECONDS:
            seconds.append(_timed(call, device))
            num_more = more_repeats(seconds[0], ROW_SECONDS - (time.perf_counter() - start))
            seconds += [_timed(call, device) for _ in range(num_more)]
    figures = seconds or [warm_up_s]
    return {
        "median_s": statistics.median(figures),
        "spread_s": max(figures) - min(figures),
        "seconds": seconds,
        "warm_up_s": warm_up_s,
        "setup_s": setup_s,
        "row_s": time.perf_counter() - start,
        "peak_bytes": torch.cuda.max_memory_allocated(device) if is_cuda else None,
        "reserved_bytes": torch.cuda.max_memory_reserved(device) if is_cuda else None,
        "planned_bytes": case.planned_bytes,
        "flops": case.flops,
        "copied_bytes": case.copied_bytes if isinstance(case, HostToDevice) else 0,
        "settings": case.settings,
    }


def _timed(call: Callable[[], object], device: torch.device) -> float:
    start = _synchronised(device)
    call()
    return _synchronised(device) - start


def _synchronised(device: torch.device) -> float:
    """The time once the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _ended(status: str, error: Exception) -> dict[str, Any]:
    """A record without figures. The traces of the error, and of what led to it, are cleared of the row's tensors."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        reason = f"out of memory: {reason}"
    return {"status": status, "reason": reason[:300]}
