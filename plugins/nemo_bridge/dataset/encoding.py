"""Frames and texts as the tensors of a sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cosmos_cli.media.frames import to_video
from cosmos_cli.runtime.finite import check_finite
from cosmos_plugins.nemo_bridge.dataset.layout import NUM_TOKENS
from cosmos_plugins.nemo_bridge.dataset.samples import DTYPE

# B batch, C latent channels, T latent frames, F pixel frames, H and W height and width; L text tokens, D width of an
# embedding

GIVEN_FRAMES = 9
"""Frames that the conditioning latents show; the rest of the chunk is grey."""

EncodeText = Callable[[str], tuple[Tensor, int]]
"""A text to its embedding (1, L, D), zeros behind the text, and the number of its tokens before they were cut."""


class VideoEncoder(Protocol):
    """What turns a chunk into latents."""

    def encode(self, video_BCFHW: Tensor) -> Tensor:
        """Pixels in [-1, 1] to latents, normalised frame by frame and of standard deviation 1, B C T H W."""
        ...


@torch.no_grad()
def encode_chunk(tokenizer: VideoEncoder, frames_FHWC: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """The latents of a chunk, and those of its first frames with grey behind them: (C, T, H, W) bfloat16 each.

    Source: Cosmos-1.0, nemo/post_training/prepare_dataset.py (behaviour).
    """
    video_1CFHW = to_video(frames_FHWC, device, DTYPE)
    latents = _encoded(tokenizer, video_1CFHW)
    video_1CFHW[:, :, GIVEN_FRAMES:] = 0  # the middle of [-1, 1], where black would be -1
    return latents, _encoded(tokenizer, video_1CFHW)


def _encoded(tokenizer: VideoEncoder, video_1CFHW: Tensor) -> Tensor:
    latents_1CTHW = tokenizer.encode(video_1CFHW)
    check_finite(latents_1CTHW, "the latents of a chunk")
    return latents_1CTHW[0].to("cpu", DTYPE)


def text_of(context_1LD: Tensor) -> Tensor:
    """An embedding as samples keep it, (512, D) bfloat16."""
    return context_1LD[0].to("cpu", DTYPE).contiguous()


def mask_of_text() -> Tensor:
    """All of it counts, the zeros behind the text too, (512,) bfloat16."""
    return torch.ones(NUM_TOKENS, dtype=DTYPE)
