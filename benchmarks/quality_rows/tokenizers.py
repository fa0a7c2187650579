"""How much of a clip is left after encoding and decoding, by either tokenizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality_rows.asked import Asked
from benchmarks.quality_rows.clips import Clip, held_out
from benchmarks.quality_rows.metrics import mean, psnr
from benchmarks.quality_rows.rows import Goal, Row, rows_of
from benchmarks.quality_rows.weights import untrained
from cosmos_cli.media.frames import to_frames, to_video

PART, NUM_CLIPS = "tokenizers", 50
GOALS = {name: Goal(27, 31, "dB") for name in ("Wan: PSNR", "Cosmos: PSNR")}


def measure(asked: Asked) -> list[Row]:
    from benchmarks.quality_rows import transfer, video2world

    rows = []
    for name, module in (("Wan", video2world), ("Cosmos", transfer)):
        pipeline = module.load(asked)
        clips = held_out(asked.num_clips, module.SIZE, module.num_frames())
        tokenizer, few = pipeline.models.tokenizer, clips[: asked.num_untrained]
        trained = kept(pipeline, clips)
        with untrained(getattr(tokenizer, "network", tokenizer)):
            random = kept(pipeline, few)
        title = f"{name}: PSNR"
        rows += rows_of(PART, GOALS, {title: trained}, {title: random}, {}, num_clips=len(clips))
    return rows


@torch.inference_mode()
def kept(pipeline: Any, clips: list[Clip]) -> float:
    """PSNR of clips after encoding and decoding by a pipeline's tokenizer, in dB."""
    tokenizer = pipeline.models.tokenizer

    def there_and_back(clip: Clip) -> np.ndarray:
        video: Tensor = to_video(clip.frames_FHWC, pipeline.device, pipeline.dtype)
        return to_frames(tokenizer.decode(tokenizer.encode(video)))

    return mean(psnr(there_and_back(clip), clip.frames_FHWC) for clip in clips)
