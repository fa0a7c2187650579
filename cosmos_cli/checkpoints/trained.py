"""Which file of a training's folder holds the weights to use."""

from __future__ import annotations

import re
from pathlib import Path

_WEIGHTS = re.compile(r"iter_(\d+)_(ema|reg)_model\.pt")
"""Number of steps, and whether the weights are averaged over them. Other averages have `_RANK1` and so on in it."""


def trained_weights(folder: Path) -> Path | None:
    """The newest averaged weights of a training, or the newest others if it left none; None if there are neither.

    Args:
        folder: of the training, or `checkpoints` inside of it.
    """
    for place in (folder, folder / "checkpoints"):
        if not place.is_dir():
            continue
        found = [(match[2] == "ema", int(match[1]), file) for file in place.iterdir() if (match := _match(file))]
        if found:
            return max(found)[2]
    return None


def _match(file: Path) -> re.Match[str] | None:
    return _WEIGHTS.fullmatch(file.name) if file.is_file() else None
