"""Frames that are held in memory: how many there may be."""

from __future__ import annotations

from typing import Any

import numpy as np

from cosmos_cli.errors import InputError
from cosmos_cli.runtime.host import host_memory

# F frames, H and W pixel height and width, C = 3 colours

SHARE = 1 / 3
"""Of the free memory that the frames of one video may take: others come beside them, and a model after them."""


class HeldFrames:
    """The frames of a video in one array that grows; they are never there twice.

    Args:
        source: the file, or the frames in memory, for errors.
        announced: how many frames there will be, if its container says so.
    """

    def __init__(self, source: Any, announced: int | None = None) -> None:
        self._source, self._announced = source, announced
        self._limit_bytes = int(host_memory()[1] * SHARE)
        self._array: np.ndarray | None = None
        self._count = 0

    def add(self, frame: np.ndarray) -> None:
        """Hold one more frame, of the size of the others.

        Raises:
            InputError: it has another size, or there are more than may be held, as far as that is known already.
        """
        if self._array is None:
            self._check(max(self._announced or 1, 1), frame.nbytes)
            # memory that is not used yet costs nothing
            self._array = np.empty((self._announced or 1, *frame.shape), frame.dtype)
        elif self._array.shape[1:] != frame.shape:
            raise InputError("changes its picture size within the clip.", where=str(self._source), fix="Re-encode it.")
        if self._count == len(self._array):
            self._check(self._count + 1, frame.nbytes)
            # pages of large arrays are moved, not copied
            self._array.resize((self._count + 1 + self._count // 4, *frame.shape), refcheck=False)
        self._array[self._count] = frame
        self._count += 1

    def array(self) -> np.ndarray:
        """All frames, at least one, (F, ...); nothing can be added afterwards."""
        assert self._array is not None
        self._array.resize((self._count, *self._array.shape[1:]), refcheck=False)
        return self._array

    def _check(self, num_frames: int, frame_bytes: int) -> None:
        if num_frames * frame_bytes <= self._limit_bytes:
            return
        what = "frames" if self._announced else "frames and more"
        raise InputError(
            f"has {num_frames:,} {what}, which take {_gigabytes(num_frames * frame_bytes)} of memory as they are "
            f"needed here; at most a third of what is free, {_gigabytes(self._limit_bytes)}, is used.",
            where=str(self._source),
            fix="Give the part that is needed, such as: ffmpeg -i CLIP -t 10 PART.mp4; or free some memory.",
        )


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB"
