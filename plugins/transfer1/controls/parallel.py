"""One frame per core."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import numpy as np
import torch

from cosmos_cli.runtime.devices import cores

_LOCK = threading.Lock()
"""Held while the libraries are on one thread: two that save and restore at once would restore each other's 1."""


def map_frames(
    compute: Callable[[np.ndarray], np.ndarray],
    frames_FHWC: np.ndarray,
    on_frame: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """`compute` of every frame, on all cores of this thread; the result is the same as frame by frame.

    OpenCV and torch let other Python threads run while they work. Both would use several threads for one frame, at a
    loss where a step is serial; with a frame per core there is none, and one thread each is enough.

    Args:
        compute: from (H, W, 3) uint8 to the same; safe to call from several threads.
        on_frame: called after every frame, from the caller's thread.
    """
    made = np.empty_like(frames_FHWC)

    def make(index: int) -> None:
        made[index] = compute(frames_FHWC[index])

    with _libraries_on_one_thread(), ThreadPoolExecutor(cores.here, initializer=_torch_on_one_thread) as pool:
        for _ in pool.map(make, range(len(frames_FHWC))):  # raises what a frame raised
            on_frame()
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
