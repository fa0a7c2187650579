"""Initial noise that depends on the seed alone, not on the device or the number of devices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def arch_invariant_noise(shape: Sequence[int], seed: int) -> Tensor:
    """Standard normal noise of the Cosmos families, float32 on the CPU.

    Drawn in float64 by NumPy's legacy Mersenne Twister generator and rounded once, for the whole tensor, so every
    machine and every rank sees the same values.

    Args:
        shape: any shape, such as (B, C, T, H, W).
        seed: 0 to 2**32 - 1.
    Source: cosmos-predict2, imaginaire/utils/misc.py (behaviour).
    """
    values = np.random.RandomState(seed).standard_normal(tuple(shape)).astype(np.float32)
    return torch.from_numpy(values)
