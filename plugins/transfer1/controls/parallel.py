"""One frame per core."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import cv2
import numpy as np
import torch

from cosmos_cli.runtime.devices import cores
from cosmos_cli.runtime.threads import same_device

T = TypeVar("T")
R = TypeVar("R")

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

    for _ in on_all_cores(make, range(len(frames_FHWC))):
        on_frame()
    return made


def on_all_cores(compute: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`compute` of every item, in their order, each by a thread that has the libraries' work to itself.

    So a network rounds the same however many cores there are. Raises what an item raised.
    """
    begin = partial(_begin, same_device())
    with _libraries_on_one_thread(), ThreadPoolExecutor(cores.here, initializer=begin) as pool:
        yield from pool.map(compute, items)


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


def _begin(go_to_device: Callable[[], None]) -> None:
    # torch keeps the device and the number of threads per thread, so each worker has to say them
    go_to_device()
    torch.set_num_threads(1)
