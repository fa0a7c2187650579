"""What a figure depends on beside the code: the card, its limits and its clocks."""

from __future__ import annotations

import platform
import subprocess
from typing import Any

import torch

_QUERY = {
    "driver": "driver_version",
    "power_limit_w": "power.limit",
    "power_w": "power.draw",
    "max_sm_mhz": "clocks.max.sm",
    "sm_mhz": "clocks.sm",
    "memory_mhz": "clocks.mem",
    "celsius": "temperature.gpu",
}


def chosen_device() -> torch.device:
    """The current CUDA device, with its index; the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {platform.machine()}"


def state_of(device: torch.device) -> dict[str, Any]:
    """Driver, limits and clocks of this moment as nvidia-smi tells them; what it does not tell is left out."""
    if device.type != "cuda":
        return {}
    properties = torch.cuda.get_device_properties(device)
    told: dict[str, Any] = {"total_bytes": properties.total_memory, "cuda": torch.version.cuda}
    command = ["nvidia-smi", f"--query-gpu={','.join(_QUERY.values())}", "--format=csv,noheader,nounits"]
    uuid = str(getattr(properties, "uuid", ""))
    if uuid:
        command += ["-i", uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return told
    cells = [cell.strip() for cell in answer.splitlines()[0].split(",")] if answer.strip() else []
    return told | {key: cell for key, cell in zip(_QUERY, cells, strict=False) if cell and "N/A" not in cell}
