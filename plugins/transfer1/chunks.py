"""Cutting a clip of any length into the chunks that the model makes, and what each shares with the one before it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Chunk(NamedTuple):
    """Frames [start, stop) of the padded clip; the first `num_shared` of them were made by the chunk before."""

    number: int
    start: int
    stop: int
    num_shared: int


def plan_chunks(num_frames: int, overlap: int, chunk_frames: int) -> list[Chunk]:
    """The chunks of a clip: `chunk_frames` frames each, sharing `overlap` with their neighbour.

    The last one may reach past the end of the clip: inputs are padded there, and the output is cut back.

    Args:
        num_frames: length of the clip, >= 1.
        overlap: frames that a chunk carries over, >= 1 and less than a chunk.
        chunk_frames: that the model makes at once.
    """
    step = chunk_frames - overlap
    num_chunks = max(1, math.ceil((num_frames - overlap) / step))
    return [Chunk(i, i * step, i * step + chunk_frames, overlap if i else 0) for i in range(num_chunks)]


def places_of(chunk: Chunk, num_frames: int) -> np.ndarray:
    """The places of the chunk's frames in a clip, that of the last one repeated past the end."""
    return np.arange(chunk.start, chunk.stop).clip(max=num_frames - 1)


def take(frames: np.ndarray, chunk: Chunk) -> np.ndarray:
    """The chunk's part of frames or weight maps along the first axis, the last one repeated past the end."""
    return frames[places_of(chunk, len(frames))]
