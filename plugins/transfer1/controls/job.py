"""What the computation of a control is told, and where what it has made is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_cli.media.video import read_lossless, write_lossless
from cosmos_plugins.transfer1.requests import ControlSpec, TransferRequest

# F frames, H and W pixel height and width, C = 3 colours

CACHE_LIMIT_BYTES = 20 * 2**30
"""Control videos that have not been used for the longest are removed beyond this."""


@dataclass(frozen=True)
class ControlJob:
    """A control to be computed, besides the frames themselves.

    request: the whole request. control: the part of it that describes this control.
    device: where to compute, such as "cuda:0".
    models: "depth", "detector" and "tracker" to the folders of our models that annotate videos.
    checkpoint_dir: the checkpoint folder of the run, for the models of other packages.
    source: what identifies the frames: equal for equal content.
    cache: folder for what was made; None keeps nothing.
    advance: to be called after each frame, for the progress.
    """

    request: TransferRequest
    control: ControlSpec
    device: str
    models: Mapping[str, Path]
    checkpoint_dir: Path
    source: str
    cache: Path | None = None
    advance: Callable[[], None] = field(default=lambda: None)

    def cached(self, how: Mapping[str, Any], compute: Callable[[], np.ndarray]) -> np.ndarray:
        """What `compute` gives, (F, H, W, 3) or (F, H, W) uint8, or an earlier run gave for the same frames and `how`.

        Args:
            how: everything besides the frames that the outcome depends on, the name of the control included.
        """
        if self.cache is None:
            return compute()
        identity = json.dumps({"source": self.source, "how": how}, sort_keys=True, default=str)
        path = self.cache / f"{hashlib.sha256(identity.encode()).hexdigest()}.mkv"
        kept = read_lossless(path)
        if kept is not None:
            path.touch()
            return kept
        made = compute()
        write_lossless(path, made)
        _prune(self.cache, CACHE_LIMIT_BYTES)
        return made


def _prune(folder: Path, limit_bytes: int) -> None:
    """Remove the files that were not used for the longest until the rest fits."""
    found = sorted(((path.stat(), path) for path in folder.glob("*.mkv")), key=lambda item: -item[0].st_mtime)
    total = 0
    for status, path in found:
        total += status.st_size
        if total > limit_bytes:
            path.unlink(missing_ok=True)
