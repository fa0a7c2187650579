"""Which chunks of a video become samples. Without torch."""

from __future__ import annotations

import os
import random


def draw_starts(
    name: str, num_frames: int, *, num_chunks: int, chunk_frames: int, seed: int, repeats: bool
) -> list[int]:
    """First frames of the chunks of a video, by its name and length and the seed alone, in the order of the samples.

    No chunk comes twice before all have come once.

    Args:
        name: of the file.
        num_frames: of the video, at least those of a chunk.
        repeats: whether a video with fewer chunks than are asked for gives some several times, or only what it has.
    """
    possible = num_frames - chunk_frames + 1
    if num_chunks > possible and not repeats:
        return list(range(possible))
    rounds, rest = divmod(num_chunks, possible)
    chance = random.Random(f"{seed} ".encode() + os.fsencode(name))
    return list(range(possible)) * rounds + chance.sample(range(possible), rest)
