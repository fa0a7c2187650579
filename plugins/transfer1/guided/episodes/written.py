"""Writing episodes: one with other colours, and one from nothing in the layout of the simulation's recorder."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from cosmos_cli.files.scratch import reserve
from cosmos_cli.files.writing import json_bytes
from cosmos_cli.media.resize import stretch
from cosmos_plugins.transfer1.guided.episodes import layout
from cosmos_plugins.transfer1.guided.episodes.episode import Episode
from cosmos_plugins.transfer1.guided.episodes.labels import colours_of
from cosmos_plugins.transfer1.guided.views import VIEWS, Seen, View

if TYPE_CHECKING:
    import h5py

# F frames, H and W pixel height and width

PROVENANCE = "cosmos"
"""Attribute of the recording, JSON, that tells how its pictures were made."""

Resampling = Literal["area", "linear"]
"""area: all pixels count when pictures shrink. linear: as the original, which skips most of them."""

_SLACK_BYTES = 1 << 20
_CHUNK_OVERHEAD_BYTES = 4096
_OPTIONS = {"compression": "gzip", "compression_opts": 4, "shuffle": True}


def write_episode(
    path: Path,
    source: Episode,
    views: Mapping[View, Iterable[np.ndarray]],
    provenance: Mapping[str, Any],
    *,
    resampling: Resampling = "area",
) -> None:
    """Write a copy of an episode with other pictures; everything else of the file stays as it is.

    Args:
        path: a temporary name, as `cosmos_cli.files.writing.replacing` gives; what is there is replaced.
        views: each view's frames from the first on, in pieces of any length, (F, H, W, 3) uint8 of any size. Where they
            end early, the episode's own follow.
        provenance: told as JSON in the attribute `PROVENANCE` of the recording.
    Raises:
        InputError: the episode changed since it was checked, or is damaged.
        OSError: there is no room, or it cannot be written; `replacing` tells it as DiskFull or CosmosError.
        ValueError: a view has more frames than the episode.
    """
    layout.check_installed()
    import h5py

    # byte for byte: links, references, other recordings, compression and what else a file may hold
    with layout.reading(source.path):
        original = source.path.open("rb")
    with original, path.open("wb") as copy:
        shutil.copyfileobj(original, copy, 1 << 20)
    with layout.reading(source.path):
        file = h5py.File(path, "r+", locking="best-effort")
    with _changing(path, file):
        with layout.reading(source.path, layout.RGB):
            data = layout.find(file, f"{layout.OBSERVATIONS}/{layout.RGB}")
        expected = (source.num_frames, len(VIEWS), source.height, source.width, 3)
        if data is None or isinstance(data, str) or data.shape != expected or data.dtype != np.uint8:
            raise source.changed(layout.RGB)
        for view, frames in views.items():
            for first, piece in _at_size(view, frames, data, resampling):
                _reserve(path, file, _bytes_to_write(data, first, first + len(piece)))
                with layout.reading(source.path, layout.RGB):
                    data[first : first + len(piece), VIEWS.index(view)] = piece
                    file.flush()
        _tell(path, file, provenance, source.path)


@contextlib.contextmanager
def _changing(path: Path, file: h5py.File) -> Iterator[None]:
    """A block that changes an open file, which is closed then; what the block raises passes.

    All that is written has to be reserved and flushed in it: HDF5 dies when it cannot write what it has kept back.
    """
    try:
        yield
    finally:
        try:
            file.flush()
            # what was reserved and not used; HDF5 does not know of it
            os.truncate(path, file.id.get_filesize())
        finally:
            file.close()


def _reserve(path: Path, file: h5py.File, num_bytes: int) -> None:
    """Make room on the disk for what is to be added to a file. Raises OSError: there is none."""
    with path.open("r+b") as again:
        reserve(again.fileno(), file.id.get_filesize() + num_bytes + _SLACK_BYTES)


def _bytes_to_write(data: h5py.Dataset, first: int, stop: int) -> int:
    """At most so many are added to a file when frames of one view are replaced: chunks move when they grow."""
    if data.chunks is None:
        return 0
    frames, _, *rest = data.chunks
    num_chunks = (stop - 1) // frames - first // frames + 1
    for size, step in zip(data.shape[2:], rest, strict=True):
        num_chunks *= math.ceil(size / step)
    # what cannot be compressed grows a little
    return num_chunks * (math.prod(data.chunks) * 11 // 10 + _CHUNK_OVERHEAD_BYTES)


def _at_size(
    view: View, pieces: Iterable[np.ndarray], data: h5py.Dataset, resampling: Resampling
) -> Iterator[tuple[int, np.ndarray]]:
    """Frames at the size of the episode, as many as are well written at once, with the number of the first."""
    num_frames, _, height, width, colours = data.shape
    interpolation = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}[resampling]
    step = layout.frames_at_once(data, height * width * colours)
    first, held = 0, list[np.ndarray]()
    for piece in pieces:
        if first + len(held) + len(piece) > num_frames:
            raise ValueError(f"the {view} view has more than the {num_frames} frames of the episode")
        for image in piece:
            held.append(stretch(image, height, width, interpolation=interpolation))
            if len(held) == step:
                yield first, np.stack(held)
                first, held = first + step, []
    if held:
        yield first, np.stack(held)


def _tell(path: Path, file: h5py.File, provenance: Mapping[str, Any], named: Path) -> None:
    """Write the provenance.

    Args:
        named: the file that is told where its own structure is in the way.
    """
    text = json_bytes(dict(provenance)).decode()
    _reserve(path, file, 2 * len(text.encode()))
    with layout.reading(named, layout.DEMO):
        # of variable length, since an attribute of a fixed one holds no more than 64 KiB
        file[layout.DEMO].attrs[PROVENANCE] = text
        file.flush()


def read_provenance(path: Path) -> dict[str, Any] | None:
    """What `write_episode` told; None for an episode that it has not written. Raises InputError: it cannot be read."""
    with layout.opened(path) as file:
        recording = layout.walk(file, layout.DEMO)
        text = None if recording is None or isinstance(recording, str) else recording.attrs.get(PROVENANCE)
        told = json.loads(text) if isinstance(text, str) else None
        return told if isinstance(told, dict) else None


def create_episode(
    path: Path,
    frames: Iterable[tuple[Seen, Seen]],
    *,
    provenance: Mapping[str, Any] | None = None,
    environment: str = "cosmos",
) -> None:
    """Write a new episode as the simulation's recorder does, without actions and states.

    Args:
        path: a temporary name, as `cosmos_cli.files.writing.replacing` gives; what is there is replaced.
        frames: what the room camera and the wrist camera see, in pieces of any length; at least one frame.
        environment: name of what made it.
    Raises:
        OSError: there is no room, or it cannot be written; `replacing` tells it as DiskFull or CosmosError.
        ValueError: there are no frames, or pieces differ in size.
    """
    layout.check_installed()
    import h5py

    file = h5py.File(path, "w", locking="best-effort")
    with _changing(path, file):
        _reserve(path, file, 0)
        recording = file.create_group(layout.DEMO)
        observations = recording.create_group("observations")
        num_frames = 0
        for room, wrist in frames:
            recorded = _recorded(room, wrist)
            num_chunks = len(VIEWS) * len(recorded) * len(recorded[layout.RGB])
            num_bytes = sum(values.nbytes for values in recorded.values())
            _reserve(path, file, num_bytes * 11 // 10 + num_chunks * _CHUNK_OVERHEAD_BYTES)
            num_frames = _append(observations, num_frames, recorded)
            file.flush()
        if not num_frames:
            raise ValueError("an episode needs at least one frame")
        recording.attrs["num_samples"] = num_frames
        recording.attrs["sim"] = True
        file["data"].attrs["total"] = num_frames
        file["data"].attrs["env_args"] = json.dumps({"env_name": environment, "type": 2})
        if provenance is not None:
            _tell(path, file, provenance, path)


def _recorded(room: Seen, wrist: Seen) -> dict[str, np.ndarray]:
    """The arrays of some frames, by the names of their data sets."""
    both = (room, wrist)
    recorded = {
        layout.RGB: np.stack([seen.rgb_FHW3 for seen in both], axis=1),
        layout.DEPTH: np.stack([seen.depth_FHW for seen in both], axis=1)[..., None].astype(np.float32),
        layout.SEGMENTATION: np.stack([colours_of(seen.labels_FHW) for seen in both], axis=1),
    }
    for view, seen in zip(VIEWS, both, strict=True):
        recorded[layout.intrinsics_name(view)] = seen.cameras.intrinsics_F33
        recorded[layout.positions_name(view)] = seen.cameras.positions_F3
        recorded[layout.quaternions_name(view)] = seen.cameras.quaternions_F4
    return recorded


def _append(observations: h5py.Group, num_frames: int, recorded: Mapping[str, np.ndarray]) -> int:
    """Add frames behind those that are there; the new number of frames."""
    total = num_frames + len(recorded[layout.RGB])
    for name, values in recorded.items():
        if name not in observations:
            is_image = values.ndim == 5
            # one frame of one view is what is read at least
            chunks = (1, 1, *values.shape[2:]) if is_image else (256, *values.shape[1:])
            observations.create_dataset(
                name,
                shape=(0, *values.shape[1:]),
                maxshape=(None, *values.shape[1:]),
                dtype=values.dtype,
                chunks=chunks,
                **(_OPTIONS if is_image else {}),
            )
        data = observations[name]
        if data.shape[1:] != values.shape[1:] or total - num_frames != len(values):
            raise ValueError(f"{name} of {values.shape} does not go with {data.shape}")
        data.resize(total, axis=0)
        data[num_frames:] = values
    return total
