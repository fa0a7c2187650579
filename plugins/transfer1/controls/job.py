"""What the computation of a control is told, and where what it has made is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_cli import __version__
from cosmos_cli.files.cache import Cache
from cosmos_cli.files.side_work import side_work
from cosmos_cli.media.lossless import pack_frames, unpack_frames
from cosmos_plugins.transfer1.requests import ControlSpec, TransferRequest

# F frames, H and W pixel height and width, C = 3 colours


@dataclass(frozen=True)
class ControlJob:
    """A control to be computed, besides the frames themselves.

    request: the whole request. control: the part of it that describes this control.
    device: where to compute, such as "cuda:0".
    models: "depth", "detector", "tracker" and "people" to the folders of our models that annotate videos.
    checkpoint_dir: the checkpoint folder of the run, for the models of other packages.
    source: what identifies the frames: equal for equal pixels.
    cache: for what was made; None keeps nothing.
    advance: to be called after each frame, for the progress.
    take_kept: to be called where nothing is computed, since an earlier run has.
    """

    request: TransferRequest
    control: ControlSpec
    device: str
    models: Mapping[str, Path]
    checkpoint_dir: Path
    source: str
    cache: Cache | None = None
    advance: Callable[[], None] = field(default=lambda: None)
    take_kept: Callable[[], None] = field(default=lambda: None)

    def cached(self, how: Mapping[str, Any], compute: Callable[[], np.ndarray]) -> np.ndarray:
        """What `compute` gives, (F, H, W, 3) or (F, H, W) uint8, or an earlier run gave for the same frames and `how`.

        Args:
            how: everything besides the frames that the outcome depends on, the name of the control included.
        """
        if self.cache is None:
            return compute()
        # a GPU rounds otherwise than a CPU, and another version of ours may compute otherwise
        by = [__version__, self.device.partition(":")[0]]
        identity = json.dumps({"source": self.source, "how": how, "by": by}, sort_keys=True, default=str)
        kept = self.cache.get(identity)
        if kept is not None and (frames := unpack_frames(kept)) is not None:
            self.take_kept()
            return frames
        made = compute()
        with side_work("a computed control is not kept"):
            self.cache.put(identity, pack_frames(made))
        return made
