"""Control videos that go along with clips: `HINT/NAME.mp4`, or computed from the clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmos_cli import registry
from cosmos_cli.errors import InputError
from cosmos_cli.training.data.folders import CLIP_SUFFIX
from cosmos_cli.training.data.windows import read_window
from cosmos_cli.training.recipe import Data

# F frames of all views, H and W pixel height and width

Compute = Callable[[np.ndarray, torch.Generator], np.ndarray]


class Hints:
    """The control videos that a recipe names, or none.

    Raises:
        InputError: there is no folder of them, and they cannot be computed.
    """

    def __init__(self, data: Data, root: Path) -> None:
        self._data, self._folder = data, root / data.hint
        control: Any = registry.current().controls.get(data.hint)
        self._keeps_labels = control is not None and control.interpolation == "nearest"
        self._is_read = bool(data.hint) and self._folder.is_dir()
        self._train: str | None = None if control is None or self._is_read else control.train
        if data.hint and not self._is_read and self._train is None:
            raise InputError(
                f"there is no such folder, and {data.hint} is not computed from clips.",
                where=str(self._folder),
                fix="Put a control video beside each clip, under the same name.",
            )

    def paths(self, name: str, views: Sequence[str] = ("",)) -> list[Path]:
        """The control videos of a clip, one of each view; none where they are computed or there are none."""
        return [self._folder / view / f"{name}{CLIP_SUFFIX}" for view in views] if self._is_read else []

    def read(
        self, paths: Sequence[Path], start: int, frames_FHWC: np.ndarray, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Those of a window, by name.

        Raises:
            InputError: they cannot be read.
        """
        data = self._data
        if not data.hint:
            return {}
        if paths:
            read = [read_window(path, data, start, keeps_labels=self._keeps_labels).frames_FHWC for path in paths]
            return {data.hint: torch.from_numpy(np.concatenate(read))}
        # resolved here: what was read stays out of what is copied to other processes
        compute: Compute = registry.current().controls[data.hint].resolve_train()
        return {data.hint: torch.from_numpy(compute(frames_FHWC, generator))}
