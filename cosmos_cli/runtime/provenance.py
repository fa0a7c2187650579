"""What a sidecar tells about where and with what a video was made."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cosmos_cli import __version__
from cosmos_cli.runtime.shortcuts import Shortcuts


def environment(device: torch.device, dtype: torch.dtype, shortcuts: Shortcuts, *, num_threads: int) -> dict[str, str]:
    """Versions, device and precision, on a GPU its shortcuts, and on a CPU what its rounding depends on."""
    told = {
        "cosmos-cli": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": str(dtype).removeprefix("torch."),
    }
    if device.type == "cuda":
        return told | {"shortcuts": str(shortcuts)}
    capability: str = torch.backends.cpu.get_cpu_capability()
    return told | {"kernels": capability, "threads": str(num_threads)}


def weights(paths: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Place and size of each file of weights; the size is None for a folder, or a file that has gone since."""
    return {name: _of_file(path) for name, path in paths.items()}


def _of_file(path: Path) -> dict[str, Any]:
    try:
        return {"path": str(path.absolute()), "bytes": path.stat().st_size if path.is_file() else None}
    except OSError:
        return {"path": str(path), "bytes": None}
