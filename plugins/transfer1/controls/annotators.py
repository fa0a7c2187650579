"""The models that annotate videos: loaded once per process, and on the device only while they work."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cosmos_cli.models.t5 import fingerprint
from cosmos_cli.runtime.devices import choose_device
from cosmos_plugins.transfer1.controls.depth import DepthEstimator
from cosmos_plugins.transfer1.controls.job import ControlJob
from cosmos_plugins.transfer1.controls.objects import ObjectFinder
from cosmos_plugins.transfer1.controls.skeleton import SkeletonEstimator

_CPU = torch.device("cpu")


@contextmanager
def depth_estimator(folder: Path, device: str) -> Iterator[DepthEstimator]:
    """The depth model, in half precision on a GPU as in the original. Raises CheckpointError if it cannot be loaded."""
    with _on(device, _load_depth_estimator(folder, device)) as estimator:
        yield estimator


@contextmanager
def object_finder(detector: Path, tracker: Path, device: str) -> Iterator[ObjectFinder]:
    """Detector and tracker of objects. Raises CheckpointError if one cannot be loaded."""
    with _on(device, _load_object_finder(detector, tracker, device)) as finder:
        yield finder


@functools.lru_cache(maxsize=1)
def skeleton_estimator(folder: Path, device: str) -> SkeletonEstimator:
    """The model of human poses, which stays where it runs. Errors as for `SkeletonEstimator`."""
    return SkeletonEstimator(folder, choose_device(device))


def fingerprints(job: ControlJob, *names: str) -> list[str]:
    """What tells these models of a job apart from others, by their content."""
    return [fingerprint(job.models[name]) for name in names]


@functools.lru_cache(maxsize=1)
def _load_depth_estimator(folder: Path, device: str) -> DepthEstimator:
    dtype = torch.float32 if choose_device(device).type == "cpu" else torch.float16
    return DepthEstimator(folder, device=_CPU, dtype=dtype)


@functools.lru_cache(maxsize=1)
def _load_object_finder(detector: Path, tracker: Path, device: str) -> ObjectFinder:
    dtype = torch.float32 if choose_device(device).type == "cpu" else torch.bfloat16
    return ObjectFinder(detector, tracker, device=_CPU, dtype=dtype)


@contextmanager
def _on(device: str, model: Any) -> Iterator[Any]:
    model.move(choose_device(device))
    try:
        yield model
    finally:
        model.move(_CPU)
