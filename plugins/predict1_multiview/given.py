"""Frames that a video begins with, as the networks are given them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cosmos_cli.media.frames import to_video_over_128
from cosmos_cli.media.resize import resize_bicubic
from cosmos_cli.models.cosmos_tokenizer import ChunkedTokenizer

# F frames, H and W pixel height and width, C = 3 colours or latent channels, T latent frames


def encode_given(
    tokenizer: ChunkedTokenizer,
    frames_FHWC: np.ndarray,
    height: int,
    width: int,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Normalised latents of the frames that a view begins with, (1, C, T, height / 8, width / 8).

    The encoder is causal, so encoding these frames alone equals encoding them with any filler behind.

    Args:
        frames_FHWC: uint8 in the input's own size; stretched to `height` x `width` pixels, whatever that does to their
            shape.
    Source: cosmos-predict1 4ed35fa, diffusion/inference/inference_utils.py (behaviour).
    """
    video = to_video_over_128(frames_FHWC, device, dtype)
    if video.shape[3:] != (height, width):
        video = resize_bicubic(video[0].transpose(0, 1), height, width).transpose(0, 1)[None].contiguous()
    return tokenizer.normalise(tokenizer.network.encode(video).to(video.dtype))
