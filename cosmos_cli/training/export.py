"""Trained weights as files like the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from cosmos_cli.files.failures import writing
from cosmos_cli.files.writing import replacing
from cosmos_cli.training.checkpoints import name_of


def export(
    folder: Path,
    iteration: int,
    weights: Mapping[str, Tensor],
    averages: Mapping[str, Tensor] | None,
    *,
    is_main: bool,
) -> tuple[Path, ...]:
    """Write `iter_NNNNNNNNN_reg_model.pt`, and `_ema_model.pt` if there are averages; every rank must call this.

    The weights are bfloat16, as the networks compute with them; the averages float32. Shards are put together one
    tensor at a time and go to the main rank's host memory, which holds one file at a time.

    Args:
        weights: by published name, with the constants that published files hold.
        averages: of those that learn; the others are taken as they are.
    Returns:
        The files, on every rank.
    Raises:
        DiskFull, CosmosError: a file could not be written.
    """
    name = name_of(iteration)
    regular = folder / f"{name}_reg_model.pt"
    _write(regular, weights, torch.bfloat16, is_main=is_main)
    if averages is None:
        return (regular,)
    averaged = folder / f"{name}_ema_model.pt"
    _write(averaged, {**weights, **averages}, torch.float32, is_main=is_main)
    return regular, averaged


def _write(path: Path, weights: Mapping[str, Tensor], dtype: torch.dtype, *, is_main: bool) -> None:
    whole: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        tensor = tensor.detach()
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if is_main:
            whole[name] = full.to("cpu", dtype if full.is_floating_point() else full.dtype, copy=True).contiguous()
    if is_main:
        with writing(path), replacing(path) as temporary:
            torch.save(whole, temporary)
