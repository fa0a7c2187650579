"""Simulated episodes: what two cameras saw, read piece by piece from an HDF5 file."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cosmos_cli.errors import InputError, Problem
from cosmos_plugins.transfer1.guided.episodes import layout
from cosmos_plugins.transfer1.guided.episodes.checks import FAR_M, check_episode
from cosmos_plugins.transfer1.guided.episodes.labels import labels_of
from cosmos_plugins.transfer1.guided.views import VIEWS, Cameras, Seen, View

if TYPE_CHECKING:
    import h5py

# F frames, H and W pixel height and width

ALL = slice(None)


@dataclass(frozen=True)
class Episode:
    """An episode that was checked. Its file is opened for each reading and can be as long as it likes.

    Frames to read are a slice, or places in any order, also several times the same; one that is out of range is an
    IndexError.

    height, width: of both views, in pixels.
    depth_ranges: least and largest measured depth of each view, in metres.
    num_other_demos: recordings beside the first in the same file, which are never read.
    """

    path: Path
    num_frames: int
    height: int
    width: int
    depth_ranges: tuple[tuple[float, float], tuple[float, float]]
    num_other_demos: int = 0

    @property
    def number(self) -> int | None:
        """What its name ends in, as in data_12.hdf5."""
        return number_of(self.path)

    def read(self, view: View, frames: slice | np.ndarray = ALL) -> Seen:
        """All that a camera sees in some frames. Raises InputError: the file changed, or is damaged."""
        with self._opened() as file:
            return Seen(
                self._images(file, layout.RGB, view, frames),
                _metres(self._images(file, layout.DEPTH, view, frames)[..., 0]),
                labels_of(self._images(file, layout.SEGMENTATION, view, frames)),
                self._cameras(file, view, frames),
            )

    def rgb(self, view: View, frames: slice | np.ndarray = ALL) -> np.ndarray:
        """(F, H, W, 3) uint8. Raises as `read`."""
        with self._opened() as file:
            return self._images(file, layout.RGB, view, frames)

    def depth(self, view: View, frames: slice | np.ndarray = ALL) -> np.ndarray:
        """(F, H, W) float32, along the camera's z, in metres; `FAR_M` where nothing was hit. Raises as `read`."""
        with self._opened() as file:
            return _metres(self._images(file, layout.DEPTH, view, frames)[..., 0])

    def colours(self, view: View, frames: slice | np.ndarray = ALL) -> np.ndarray:
        """The segmentation as it is coloured, (F, H, W, 3) uint8. Raises as `read`."""
        with self._opened() as file:
            return self._images(file, layout.SEGMENTATION, view, frames)

    def labels(self, view: View, frames: slice | np.ndarray = ALL) -> np.ndarray:
        """(F, H, W) uint8. Raises as `read`."""
        return labels_of(self.colours(view, frames))

    def cameras(self, view: View, frames: slice | np.ndarray = ALL) -> Cameras:
        """Raises as `read`."""
        with self._opened() as file:
            return self._cameras(file, view, frames)

    @contextmanager
    def _opened(self) -> Iterator[h5py.File]:
        with layout.opened(self.path) as file:
            yield file

    def _images(self, file: h5py.File, name: str, view: View, frames: slice | np.ndarray) -> np.ndarray:
        data = self._data(file, name)
        if data.shape[2:4] != (self.height, self.width):
            raise self.changed(name)
        return _taken(data, frames, (VIEWS.index(view),))

    def _cameras(self, file: h5py.File, view: View, frames: slice | np.ndarray) -> Cameras:
        intrinsics, positions, quaternions = (
            _taken(self._data(file, name(view)), frames).astype(np.float64)
            for name in (layout.intrinsics_name, layout.positions_name, layout.quaternions_name)
        )
        # stored with few digits, their length is not quite 1
        return Cameras(intrinsics, positions, quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True))

    def _data(self, file: h5py.File, name: str) -> h5py.Dataset:
        data = layout.find(file, f"{layout.OBSERVATIONS}/{name}")
        if data is None or isinstance(data, str) or not layout.FORMS[name].fits(data):
            raise self.changed(name)
        if len(data) != self.num_frames:
            raise self.changed(name)
        return data

    def changed(self, name: str) -> InputError:
        """The error that a data set is not the one that was checked."""
        return InputError(
            "was changed since it was checked.", where=f"{self.path}, {name}", fix="Run the same command again."
        )


def open_episode(path: Path, foreground: Collection[int]) -> Episode:
    """Check an episode, reading all of it once, so that nothing about it comes as a surprise later.

    Args:
        foreground: labels that stay as they are; one of them must occur in the room view.
    Raises:
        InputError: h5py is not installed, or the episode cannot be used, with everything that is wrong with it.
    """
    with layout.opened(path) as file:
        facts, problems = check_episode(file, path, foreground)
    if facts is None or problems:
        raise InputError.from_problems(problems)
    return Episode(path, facts.num_frames, facts.height, facts.width, facts.depth_ranges, facts.num_other_demos)


def problems_of(path: Path, foreground: Collection[int]) -> list[Problem]:
    """What is wrong with an episode, see `open_episode`; nothing if it can be used."""
    try:
        open_episode(path, foreground)
    except InputError as error:
        return error.problems
    return []


def number_of(path: Path) -> int | None:
    """The integer after the last underscore of a file's name; None if it has none."""
    found = re.search(r"_([0-9]+)$", path.stem)
    return int(found[1]) if found else None


def _metres(depth_FHW: np.ndarray) -> np.ndarray:
    """Depth as float32, with one number for all that has none: cameras report 0 or infinity where nothing was hit."""
    with np.errstate(over="ignore"):
        depth_FHW = depth_FHW.astype(np.float32, copy=False)
    return np.where((depth_FHW > 0) & (depth_FHW < FAR_M), depth_FHW, np.float32(FAR_M))


def _taken(data: h5py.Dataset, frames: slice | np.ndarray, rest: tuple[int, ...] = ()) -> np.ndarray:
    """Some frames of a data set, reading no others than these.

    Args:
        rest: what is taken along the axes behind the first.
    """
    if isinstance(frames, slice):
        frames = np.arange(*frames.indices(len(data)))
    places = np.where(frames < 0, frames + len(data), frames)
    if len(places) and not (places.min() >= 0 and places.max() < len(data)):
        raise IndexError(f"frames {places.min()} to {places.max()} of {len(data)}")
    wanted, back = np.unique(places, return_inverse=True)
    runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1)
    wanted_of_each = [(slice(run[0], run[-1] + 1), *rest) for run in runs if len(run)] or [(slice(0, 0), *rest)]
    parts = [data[wanted_here] for wanted_here in wanted_of_each]
    # mostly they are asked for in a row: nothing is there twice
    read = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return read if len(back) == len(wanted) and (np.diff(back) > 0).all() else read[back]
