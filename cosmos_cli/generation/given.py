"""Frames that a video begins with, as the networks are given them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cosmos_cli.media.frames import to_video, to_video_over_128
from cosmos_cli.media.resize import resize_bicubic, stretch_smoothly
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer

# F frames, H and W pixel height and width, C = 3 colours or latent channels, T latent frames


class ToPixels(Protocol):
    """Brings frames to the size and the numbers that a tokenizer takes."""

    def __call__(
        self, frames_FHWC: np.ndarray, height: int, width: int, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        """(1, 3, F, height, width) of uint8 frames in any size, stretched, whatever that does to their shape."""


def pixels_over_128(
    frames_FHWC: np.ndarray, height: int, width: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """See `ToPixels`: bicubic in `dtype`, white just below 1.

    Source: cosmos-predict1 4ed35fa, diffusion/inference/inference_utils.py (behaviour).
    """
    video = to_video_over_128(frames_FHWC, device, dtype)
    if video.shape[3:] != (height, width):
        video = resize_bicubic(video[0].transpose(0, 1), height, width).transpose(0, 1)[None].contiguous()
    return video


def pixels_over_127(
    frames_FHWC: np.ndarray, height: int, width: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """See `ToPixels`: bilinear, rounded to uint8, white at 1, as clips are prepared for training."""
    return to_video(np.stack([stretch_smoothly(frame, height, width) for frame in frames_FHWC]), device, dtype)


def encode_given(
    tokenizer: ChunkedTokenizer,
    frames_FHWC: np.ndarray,
    height: int,
    width: int,
    *,
    device: torch.device,
    dtype: torch.dtype,
    to_pixels: ToPixels = pixels_over_128,
) -> Tensor:
    """Normalised latents of the frames that a view begins with, (1, C, T, height / 8, width / 8).

    The encoder is causal, so encoding these frames alone equals encoding them with any filler behind.

    Args:
        frames_FHWC: uint8 in the input's own size.
    """
    video = to_pixels(frames_FHWC, height, width, device, dtype)
    return tokenizer.normalise(tokenizer.network.encode(video).to(video.dtype))
