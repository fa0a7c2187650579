"""Videos longer than a model makes at once: each chunk begins with the last frames of the one before."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from cosmos_plugins.predict2.video2world.inputs import Sample

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours

MakeChunk = Callable[[Sample], "tuple[np.ndarray, str]"]
"""The frames of one chunk, (F, H, W, 3) uint8, and the prompt that was used in the end."""


def make_chunks(sample: Sample, num_chunks: int, make_chunk: MakeChunk) -> tuple[np.ndarray, list[str]]:
    """The frames of all chunks one after the other, and the prompt of each.

    A chunk is the sample with the last frames of the chunk before as its input, and with the next seed, without which
    chunks would repeat each other. The frames pass from chunk to chunk as they are, not through a lossy file.

    Source: cosmos-predict2 661da47, examples/video2world_lvg.py (behaviour).
    """
    import numpy as np

    num_shared, first_seed = len(sample.frames_FHWC), sample.request.seed
    frames: list[np.ndarray] = []
    prompts: list[str] = []
    for number in range(num_chunks):
        request = sample.request.model_copy(update={"seed": (first_seed + number) % 2**32})
        chunk_FHWC, prompt = make_chunk(dataclasses.replace(sample, request=request))
        last_FHWC = chunk_FHWC[-num_shared:]
        sample = dataclasses.replace(sample, frames_FHWC=last_FHWC, source_FHWC=last_FHWC)
        frames.append(chunk_FHWC if number == 0 else chunk_FHWC[num_shared:])
        prompts.append(prompt)
    return np.concatenate(frames), prompts
