"""How long the stages of a run take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def timed(stage: str, seconds: dict[str, float], device: torch.device | None = None) -> Iterator[None]:
    """Add the wall time of a block to `seconds[stage]`.

    Args:
        device: whose work is waited for, or it would count for the next stage; None where the block gives it none.
    """
    start = time.perf_counter()
    yield
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
