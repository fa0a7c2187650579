"""One frame per core."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import numpy as np
import torch

_LOCK = threading.Lock()
"""Held while the libraries are on one thread: two that save and restore at once would restore each other's 1."""


def map_frames(compute: Callable[[np.ndarray], np.ndarray], frames_FHWC: np.ndarray) -> np.ndarray:
    """`compute` of every frame, on all cores; the result is the same as frame by frame.

    OpenCV and torch let other Python threads run while they work. Both would use several threads for one frame, at a
    loss where a step is serial; with a frame per core there is none, and one thread each is enough.

    Args:
        compute: from (H, W, 3) uint8 to the same; safe to call from several threads.
    """
    made = np.empty_like(frames_FHWC)

    def make(index: int) -> None:
        made[index] = compute(frames_FHWC[index])

    with _libraries_on_one_thread(), ThreadPoolExecutor(_num_cores(), initializer=_torch_on_one_thread) as pool:
        for _ in pool.map(make, range(len(frames_FHWC))):
            pass  # raises what a frame raised
    return made


@contextmanager
def _libraries_on_one_thread() -> Iterator[None]:
    """The number of threads of OpenCV and torch, both settings of the whole process, is put back at the end."""
    with _LOCK:
        opencv_threads, torch_threads = cv2.getNumThreads(), torch.get_num_threads()
        cv2.setNumThreads(1)
        try:
            yield
        finally:
            cv2.setNumThreads(opencv_threads)
            torch.set_num_threads(torch_threads)


def _torch_on_one_thread() -> None:
    # torch keeps the number per thread, so each worker has to say it
    torch.set_num_threads(1)


def _num_cores() -> int:
    # containers and Slurm give a process fewer cores than the machine has; macOS cannot tell
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
