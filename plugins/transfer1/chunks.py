"""Cutting a clip of any length into the chunks that the model makes, and what each shares with the one before it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Chunk(NamedTuple):
    """Frames [start, stop) of the padded clip; the first `num_shared` of them were made by the chunk before."""

    number: int
    start: int
    stop: int
    num_shared: int


def plan_chunks(num_frames: int, overlap: int, chunk_frames: int) -> list[Chunk]:
    """The chunks of a clip: `chunk_frames` frames each, sharing `overlap` with their neighbour; of a picture one frame.

    The last one may reach past the end of the clip: inputs are padded there, and the output is cut back.

    Args:
        num_frames: length of the clip, >= 1.
        overlap: frames that a chunk carries over, >= 1 and less than a chunk.
        chunk_frames: that the model makes at once.
    """
    if num_frames <= chunk_frames:
        return [Chunk(0, 0, chunk_length(num_frames, chunk_frames), 0)]
    step = chunk_frames - overlap
    num_chunks = math.ceil((num_frames - overlap) / step)
    return [Chunk(i, i * step, i * step + chunk_frames, overlap if i else 0) for i in range(num_chunks)]


def chunk_length(num_frames: int, chunk_frames: int) -> int:
    """Frames that the model makes at once of a clip: of a picture that one alone, which its networks take as well."""
    return 1 if num_frames == 1 else chunk_frames


def shortest_of(lengths: Mapping[str, int]) -> tuple[int, str | None]:
    """Frames that all videos of a request have, and what to tell of those that are longer.

    Args:
        lengths: frames of each, by what it is called; at least one.
    """
    shortest = min(lengths.values())
    if set(lengths.values()) == {shortest}:
        return shortest, None
    told = ", ".join(f"{name} {length}" for name, length in lengths.items())
    return shortest, f"the videos differ in their numbers of frames ({told}): the first {shortest} of each are used"


def spill_of(num_frames: int, overlap: int, chunk_frames: int) -> str | None:
    """What to tell of a clip that is a little too long for its chunks; None if it is not. Arguments as `plan_chunks`.

    A little is an eighth of a chunk or less.
    """
    chunks = plan_chunks(num_frames, overlap, chunk_frames)
    num_fewer = len(chunks) - 1
    spilled = num_frames - chunks[-1].start - overlap
    if not num_fewer or spilled > chunk_frames / 8:
        return None
    share = "half" if num_fewer == 1 else f"{num_fewer}/{len(chunks)} of"
    return (
        f"{num_frames} frames take {len(chunks)} chunks of {chunk_frames}; {num_frames - spilled} frames, {spilled} "
        f"fewer, would take {num_fewer}, and about {share} the time"
    )


def places_of(chunk: Chunk, num_frames: int) -> np.ndarray:
    """The places of the chunk's frames in a clip, that of the last one repeated past the end."""
    import numpy as np

    return np.arange(chunk.start, chunk.stop).clip(max=num_frames - 1)


def take(frames: np.ndarray, chunk: Chunk) -> np.ndarray:
    """The chunk's part of frames or weight maps along the first axis, the last one repeated past the end."""
    return frames[places_of(chunk, len(frames))]
