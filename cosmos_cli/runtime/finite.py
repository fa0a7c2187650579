"""Whether tensors hold numbers: NaN and infinity come of damaged weights or of overflow, and spread over everything."""

from __future__ import annotations

import torch
from torch import Tensor

from cosmos_cli.errors import CosmosError

CHECK_WEIGHTS = "Compare the weights with the published ones: `cosmos <family> download --verify`."


def not_finite(*tensors: Tensor) -> Tensor:
    """For each tensor 1 if it holds anything but finite numbers, else 0; uint8, on the device of the first.

    By their sums, which take no memory beside them: one NaN or infinity shows in the sum of all.
    """
    sums = [tensor.sum(dtype=torch.float64) for tensor in tensors]
    return (~torch.isfinite(torch.stack(sums))).to(torch.uint8)


def check_finite(tensor: Tensor, what: str, *, fix: str = CHECK_WEIGHTS) -> None:
    """Wait for a tensor and refuse one with NaN or infinity.

    Args:
        what: it is, in the plural, as "the latents of the input".
        fix: what to do.
    Raises:
        CosmosError: not all numbers are finite.
    """
    if not_finite(tensor).cpu().numpy().any():
        raise CosmosError(f"{what} hold numbers that are not finite (NaN or infinity).", fix=fix)


def check_given(latents: Tensor) -> None:
    """Refuse latents of pictures and clips, as a tokenizer encodes them, that hold no numbers. Raises CosmosError."""
    check_finite(latents, "the latents of the given frames")
