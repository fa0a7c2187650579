"""Which device and which precision a network runs in."""

from __future__ import annotations

import torch

from cosmos_cli.errors import InputError


def choose_device(name: str) -> torch.device:
    """The device called "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:1".

    Raises:
        InputError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"{name!r} is not a device.", where="--device", fix="Use auto, cpu, cuda or cuda:1."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device is visible here.", where="--device", fix="Use --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"{name} does not exist; there are {torch.cuda.device_count()} CUDA devices.", where="--device"
        )
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype called "bfloat16" or "float32"; "auto" is what the published models run in, except on a CPU.

    A CPU computes bfloat16 more slowly than float32, and float32 loses nothing.
    """
    if precision == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[precision]
