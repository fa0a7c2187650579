"""Small data sets in the layouts of the originals."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_cli.training.experiments import changed, find
from cosmos_cli.training.recipe import Data, Recipe
from tests.clips import encode, moving_gradient

CHANNELS = 8
VIEWS = ("pinhole_front_left", "pinhole_front", "pinhole_side_left")


def recipe_with(source: str, folder: Path, *overrides: str, **data: Any) -> Recipe:
    """A recipe of the tiny model on a data set: windows of 5 frames, 32 x 48, 6 x 8 texts."""
    values: dict[str, Any] = {
        "source": f"cosmos_cli.training.data.{source}",
        "dataset_dir": str(folder),
        "num_frames": 5,
        "height": 32,
        "width": 48,
        "text_tokens": 6,
        "text_channels": CHANNELS,
        "num_views": 1,
        "num_workers": 0,
        **data,
    }
    tiny = changed(find("predict1-multiview", "tiny_video2world_multiview"), overrides)
    return tiny.model_copy(update={"data": Data(**values)})


def clip(path: Path, num_frames: int, *, fps: int = 10, height: int = 48, width: int = 64) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return encode(path, moving_gradient(num_frames, height, width), fps=fps)


def embedding(path: Path, num_tokens: int, value: float, *, channels: int = CHANNELS, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps([np.full((num_tokens, channels), value, np.float16)], protocol=protocol))
    return path


def single(root: Path, lengths: Iterable[int] = (9, 7, 12)) -> Path:
    """Clips a, b, c, ... of these lengths; the texts of clip i hold i + 1, in 3 tokens."""
    for place, num_frames in enumerate(lengths):
        name = chr(ord("a") + place)
        clip(root / "videos" / f"{name}.mp4", num_frames)
        embedding(root / "t5_xxl" / f"{name}.pickle", 3, place + 1)
    return root


def several(root: Path, lengths: Iterable[int] = (7, 5)) -> Path:
    """The same for every view; sentences of view v hold 10 (v + 1), in 2 tokens."""
    for view, key in enumerate(VIEWS):
        embedding(root / "cache" / f"prefix_{key}.pkl", 2, 10 * (view + 1))
        for place, num_frames in enumerate(lengths):
            name = chr(ord("a") + place)
            clip(root / "videos" / key / f"{name}.mp4", num_frames, height=48 + 16 * view)
            embedding(root / "t5_xxl" / key / f"{name}.pkl", 3, place + 1)
    return root
