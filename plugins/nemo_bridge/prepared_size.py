"""What a recipe takes over from a folder of prepared samples: their size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cosmos_cli.errors import CosmosError
from cosmos_plugins.nemo_bridge.dataset.layout import (
    NUM_TOKENS,
    SPATIAL,
    TEMPORAL,
    TEXT,
    VIDEO,
    file_of,
    list_samples,
)


def size_in(folder: Path) -> dict[str, Any]:
    """Fields of a recipe's data as the first whole sample has them, from the heads of its files.

    Nothing where that cannot be told: what is wrong with the folder is told when it is checked.
    """
    try:
        listing = list_samples(folder)
        whole = next((name for name in listing.names if {VIDEO, TEXT} <= listing.samples[name]), None)
        if whole is None:
            return {}
        latents, text = _shape(file_of(folder, whole, VIDEO)), _shape(file_of(folder, whole, TEXT))
    except (CosmosError, ValueError):  # also a name that no file can have
        return {}
    if len(latents) != 4 or len(text) != 2:
        return {}
    _, frames, rows, columns = latents
    return {
        "data.num_frames": 1 + (frames - 1) * TEMPORAL,
        "data.height": rows * SPATIAL,
        "data.width": columns * SPATIAL,
        "data.text_tokens": NUM_TOKENS,
        "data.text_channels": text[1],
    }


def _shape(path: Path) -> tuple[int, ...]:
    """Of a tensor in a file; empty if there is another thing. Raises CheckpointError: the file cannot be read."""
    from torch import Tensor

    from cosmos_cli.checkpoints.torch_files import load_without_code

    found = load_without_code(path, path, mmap=True)
    return tuple(found.shape) if isinstance(found, Tensor) else ()
