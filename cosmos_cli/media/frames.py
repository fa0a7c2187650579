"""Between pixels on disk (F H W C, uint8) and video tensors (B C F H W, float in [-1, 1])."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cosmos_cli.runtime.finite import check_finite


def to_video(frames_FHWC: np.ndarray, device: torch.device, dtype: torch.dtype) -> Tensor:
    """uint8 frames as (1, 3, F, H, W) in [-1, 1].

    Both operations round to `dtype`: in bfloat16 a value is off by up to 0.004, and the originals' latents hold that.
    """
    return _as_video(frames_FHWC, device, dtype).div_(127.5).sub_(1)


def to_video_over_128(frames_FHWC: np.ndarray, device: torch.device, dtype: torch.dtype) -> Tensor:
    """uint8 frames as (1, 3, F, H, W) in [-1, 1), white just below 1: value / 128 - 1, exact even in bfloat16."""
    return _as_video(frames_FHWC, device, dtype).div_(128).sub_(1)


def _as_video(frames_FHWC: np.ndarray, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The same numbers as (1, 3, F, H, W): a tensor of its own, for the caller to work in."""
    frames = torch.from_numpy(np.ascontiguousarray(frames_FHWC)).to(device)
    return frames.permute(3, 0, 1, 2)[None].to(dtype, memory_format=torch.contiguous_format, copy=True)


def check_pixels(video_BCFHW: Tensor) -> None:
    """Refuse what a tokenizer decoded to no numbers: as uint8 it would be black. Raises CosmosError."""
    check_finite(video_BCFHW, "the decoded frames, whose latents were finite,")


def to_frames(video_1CFHW: Tensor) -> np.ndarray:
    """(1, 3, F, H, W) in [-1, 1] as (F, H, W, 3) uint8, clamped and rounded."""
    check_pixels(video_1CFHW)
    unit = ((video_1CFHW[0].float() + 1) / 2).clamp(0, 1)
    return (unit * 255 + 0.5).to(torch.uint8).permute(1, 2, 3, 0).cpu().numpy()


def to_frames_truncated(video_1CFHW: Tensor) -> np.ndarray:
    """Like `to_frames`, but cut down to whole numbers in the video's own dtype, as the EDM families' originals do."""
    check_pixels(video_1CFHW)
    unit = (video_1CFHW[0] + 1).clamp(0, 2) / 2
    return (unit * 255).to(torch.uint8).permute(1, 2, 3, 0).cpu().numpy()
