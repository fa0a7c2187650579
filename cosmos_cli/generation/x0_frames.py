"""What a denoising step predicts, as frames to look at while the rest is made."""

from __future__ import annotations

from typing import Any

import numpy as np

from cosmos_cli.generation.load import Models
from cosmos_cli.generation.settings import TOKENIZER
from cosmos_cli.generation.steps import Step
from cosmos_cli.media.frames import to_frames_truncated
from cosmos_cli.runtime.memory.residence import Where

# F frames, H and W pixel height and width

_WHOLE_UP_TO = 4_000_000
"""Pixels of all frames; of a longer clip only the beginning is decoded."""
_LEAST_PIECES = 3
"""Decoded of any clip: frames that were given fill two latent frames at most, and tell nothing of a step."""


def x0_frames(models: Models[Any, Any], step: Step) -> np.ndarray | None:
    """The frames that a step predicts, (F, H, W, 3) uint8, from the first on; fewer of a long clip.

    None where they cannot be had cheaply: the decoder waits in host memory, or the step is one of tiles.
    """
    x0_BCTHW = step.x0_BCTHW
    if len(x0_BCTHW) != 1 or models.stages.plan[TOKENIZER].where != Where.RESIDENT:
        return None
    frames, num_px = [], 0
    for piece_BCFHW in models.tokenizer.decode_chunks(x0_BCTHW.to(models.dtype)):
        frames.append(to_frames_truncated(piece_BCFHW))
        num_px += frames[-1].size // 3
        if num_px > _WHOLE_UP_TO and len(frames) >= _LEAST_PIECES:
            break
    return np.concatenate(frames)
