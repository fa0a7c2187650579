"""Small episodes of random numbers, and files that are not quite episodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cosmos_plugins.transfer1.guided.episodes.labels import colours_of
from cosmos_plugins.transfer1.guided.views import VIEWS, Cameras, Seen

OBSERVATIONS = "data/demo_0/observations"


def seen(num_frames: int = 6, height: int = 12, width: int = 16, seed: int = 0) -> Seen:
    """What a camera sees in some frames: noise, in which every label occurs."""
    draws = np.random.default_rng(seed)
    quaternions = draws.normal(size=(num_frames, 4))
    return Seen(
        draws.integers(0, 256, (num_frames, height, width, 3), np.uint8),
        draws.uniform(0.2, 3, (num_frames, height, width)).astype(np.float32),
        draws.integers(0, 5, (num_frames, height, width), np.uint8),
        Cameras(
            np.tile([[width / 2.0, 0, width / 2], [0, width / 1.5, height / 2], [0, 0, 1.0]], (num_frames, 1, 1)),
            draws.uniform(-1, 1, (num_frames, 3)),
            quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True),
        ),
    )


def arrays(num_frames: int = 6, height: int = 12, width: int = 16) -> dict[str, Any]:
    """The data sets of an episode, by name."""
    views = [seen(num_frames, height, width, seed) for seed in range(len(VIEWS))]
    made = {
        "rgb_images": np.stack([view.rgb_FHW3 for view in views], axis=1),
        "depth_images": np.stack([view.depth_FHW for view in views], axis=1)[..., None],
        "seg_images": np.stack([colours_of(view.labels_FHW) for view in views], axis=1),
    }
    for name, view in zip(VIEWS, views, strict=True):
        made[f"{name}_camera_intrinsic_matrices"] = view.cameras.intrinsics_F33
        made[f"{name}_camera_pos"] = view.cameras.positions_F3
        made[f"{name}_camera_quat_w_ros"] = view.cameras.quaternions_F4
    return made


def record(path: Path, change: Callable[[dict[str, Any]], Any] = lambda made: None, **options: Any) -> Path:
    """Write an episode.

    Args:
        change: what is done to its arrays before.
        options: of every data set.
    """
    made = arrays()
    change(made)
    with h5py.File(path, "w") as file:
        for name, values in made.items():
            file.create_dataset(f"{OBSERVATIONS}/{name}", data=values, **options)
    return path


def edit(path: Path, change: Callable[[h5py.File], Any]) -> Path:
    """Change an episode's file."""
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def redefine(name: str, **definition: Any) -> Callable[[h5py.File], None]:
    """Put another data set in the place of one."""

    def change(file: h5py.File) -> None:
        del file[OBSERVATIONS][name]
        file[OBSERVATIONS].create_dataset(name, **definition)

    return change
