"""Threads that compute where the one computes that starts them."""

from __future__ import annotations

import sys
from collections.abc import Callable


def same_device() -> Callable[[], None]:
    """What a new thread must call first to compute on the GPU of the thread that calls this.

    PyTorch and CUDA keep the current device per thread, and begin with the first.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return lambda: None
    index = torch.cuda.current_device()
    return lambda: torch.cuda.set_device(index)
