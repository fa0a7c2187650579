"""Whether an episode can be used: its data sets, and all their values, read in pieces of bounded size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cosmos_cli.errors import InputError, Problem
from cosmos_plugins.transfer1.guided.episodes import layout
from cosmos_plugins.transfer1.guided.episodes.labels import COLOURS, codes_of, labels_of
from cosmos_plugins.transfer1.guided.views import LABELS, VIEWS

if TYPE_CHECKING:
    import h5py

# F frames, V = 2 views, H and W pixel height and width

FAR_M = 1000.0
"""Depth of what is as far away as can be, in metres."""

_MEDIANS_M = (0.01, 100.0)
"""Between these the median depth of a room lies, in metres."""
_SAMPLES = 1 << 20
_NORM_TOLERANCE = 1e-2
_SHOWN_COLOURS = 10


@dataclass(frozen=True)
class Facts:
    """What an episode that can be used is like; see `Episode`."""

    num_frames: int
    height: int
    width: int
    depth_ranges: tuple[tuple[float, float], tuple[float, float]]
    num_other_demos: int


def check_episode(file: h5py.File, path: Path, foreground: Collection[int]) -> tuple[Facts | None, list[Problem]]:
    """The facts of an episode and everything that is wrong with it; the facts are None only if something is.

    Raises:
        InputError: the file is damaged where its data sets are listed.
    """
    problems: list[Problem] = []
    found = _find_all(file, path, problems)
    problems += _lengths(found, path)
    depth = _Depth(path)
    checks: dict[str, _Check] = {
        layout.RGB: _nothing,
        layout.DEPTH: depth,
        layout.SEGMENTATION: _Segmentation(path, foreground),
        **{layout.intrinsics_name(view): _Intrinsics(f"{path}, {layout.intrinsics_name(view)}") for view in VIEWS},
        **{layout.positions_name(view): _Positions(f"{path}, {layout.positions_name(view)}") for view in VIEWS},
        **{layout.quaternions_name(view): _Quaternions(f"{path}, {layout.quaternions_name(view)}") for view in VIEWS},
    }
    for name, data in found.items():
        problems += _read_through(data, path, checks[name])
    if problems or layout.RGB not in found:
        return None, problems
    num_frames, _, height, width, _ = found[layout.RGB].shape
    return Facts(num_frames, height, width, depth.ranges, len(file["data"]) - 1), problems


def _find_all(file: h5py.File, path: Path, problems: list[Problem]) -> dict[str, h5py.Dataset]:
    """The data sets that can be read and have the right form."""
    found, missing = {}, []
    for name, form in layout.FORMS.items():
        with layout.reading(path, name):
            data = layout.find(file, f"{layout.OBSERVATIONS}/{name}")
        where = f"{path}, {name}"
        if data is None:
            missing.append(name)
        elif isinstance(data, str):
            problems.append(Problem(f"{data}.", where=where, fix="Copy it into the file, as the simulation writes it."))
        elif (wrong := _wrong_form(name, form, data)) is not None:
            problems.append(Problem(wrong[0], where=where, fix=wrong[1]))
        else:
            found[name] = data
    if missing:
        problems.insert(
            0,
            Problem(
                f"lacks {_listed(missing)} in {layout.OBSERVATIONS}.",
                where=str(path),
                fix="Record colours, depth, segmentation and the poses of both cameras with the episode.",
            ),
        )
    return found


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _wrong_form(name: str, form: layout.Form, data: h5py.Dataset) -> tuple[str, str | None] | None:
    """What is wrong with a data set's shape or numbers, and the way out."""
    if data.shape is not None and form.fits(data):
        return None if len(data) else ("has no frames.", "Record the episode again.")
    is_image = len(form.axes) == 5
    if is_image and data.shape is not None and len(data.shape) == 5 and data.shape[1] == 1:
        return "has one view, and guided generation needs two: the room and the wrist.", "Record both cameras."
    if name == layout.DEPTH and data.dtype.kind in "ui":
        return (
            f"holds whole numbers ({data.dtype}), which are mostly millimetres.",
            "Store metres as float32: divide millimetres by 1000.",
        )
    is_number = data.dtype.kind in "fuib"
    return (
        f"is {tuple(data.shape or ())} {data.dtype if is_number else 'of another kind than numbers'}; "
        f"needed is {form.text}.",
        f"F is the number of frames, and no side of a picture has more than {layout.MAX_SIDE_PX} pixels."
        if is_image
        else "F is the number of frames.",
    )


def _lengths(found: Mapping[str, h5py.Dataset], path: Path) -> list[Problem]:
    """Data sets that differ in frames, or pictures in size."""
    problems = []
    lengths = {name: f"{len(data):,}" for name, data in found.items()}
    sizes = {name: f"{data.shape[3]}x{data.shape[2]}" for name, data in found.items() if len(data.shape) == 5}
    for what, values in (("numbers of frames", lengths), ("sizes of pictures", sizes)):
        if len(set(values.values())) > 1:
            told = ", ".join(f"{name} {value}" for name, value in values.items())
            problems.append(
                Problem(
                    f"has different {what}: {told}.",
                    where=str(path),
                    fix="Record all of it in the same steps and sizes.",
                )
            )
    return problems


_Check = Callable[[np.ndarray | None, int], list[Problem]]
"""Takes each piece of a data set's values with the number of its first frame, at the end None; says what is wrong."""


def _nothing(piece: np.ndarray | None, first: int) -> list[Problem]:
    return []


def _read_through(data: h5py.Dataset, path: Path, check: _Check) -> list[Problem]:
    """All values, so that what is damaged is found too; the first problem is told, which is mostly that of all."""
    name = data.name.rpartition("/")[2]
    try:
        # numbers of any size, which are judged by what comes of them
        with layout.reading(path, name), np.errstate(all="ignore"):
            for first, piece in pieces(data):
                if problems := check(piece, first):
                    return problems
    except InputError as error:
        return error.problems
    return check(None, len(data))


def pieces(data: h5py.Dataset) -> Iterator[tuple[int, np.ndarray]]:
    """A data set's values in pieces of bounded size along its first axis, each with the number of its first frame."""
    step = layout.frames_at_once(data, data.dtype.itemsize * int(np.prod(data.shape[1:])))
    for first in range(0, len(data), step):
        yield first, data[first : first + step]


@dataclass
class _Depth:
    path: Path
    least: np.ndarray = field(default_factory=lambda: np.full(len(VIEWS), np.inf))
    largest: np.ndarray = field(default_factory=lambda: np.zeros(len(VIEWS)))
    samples: list[np.ndarray] = field(default_factory=list)
    num_samples: int = 0

    @property
    def ranges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        room, wrist = ((float(near), float(far)) for near, far in zip(self.least, self.largest, strict=True))
        return room, wrist

    def __call__(self, piece: np.ndarray | None, first: int) -> list[Problem]:
        where = f"{self.path}, {layout.DEPTH}"
        if piece is None:
            return self._units(where)
        for wrong, what in ((np.isnan(piece), "not a number (NaN)"), (piece < 0, "negative")):
            if wrong.any():
                frame, view = (int(place) for place in np.argwhere(wrong)[0][:2])
                return [
                    Problem(
                        f"depth of the {VIEWS[view]} view is {what} in frame {first + frame}.",
                        where=where,
                        fix="Give metres along the camera's axis, and 0 or infinity where nothing was hit.",
                    )
                ]
        measured = (piece > 0) & (piece < np.inf)
        for view in range(len(VIEWS)):
            if len(values := piece[:, view][measured[:, view]]):
                self.least[view] = min(self.least[view], float(values.min()), FAR_M)
                self.largest[view] = max(self.largest[view], min(float(values.max()), FAR_M))
        self._sample(piece[measured])
        return []

    def _sample(self, values: np.ndarray) -> None:
        self.samples.append(values[:: 1 + len(values) // (_SAMPLES // 16)].copy())
        self.num_samples += len(self.samples[-1])
        if self.num_samples > _SAMPLES:
            self.samples = [np.concatenate(self.samples)[::2]]
            self.num_samples = len(self.samples[0])

    def _units(self, where: str) -> list[Problem]:
        for view, largest in zip(VIEWS, self.largest, strict=True):
            if not largest:
                return [
                    Problem(
                        f"depth of the {view} view is 0 or infinite everywhere.", where=where, fix="Record its depth."
                    )
                ]
        median = float(np.median(np.concatenate(self.samples)))
        if _MEDIANS_M[0] <= median <= _MEDIANS_M[1]:
            return []
        guess = "is it in millimetres?" if median > _MEDIANS_M[1] else "is it scaled?"
        return [Problem(f"median of depth is {median:.4g}: {guess}", where=where, fix="Give metres.")]


@dataclass
class _Segmentation:
    path: Path
    foreground: Collection[int]
    labels: set[int] = field(default_factory=set)
    colours: Counter[int] = field(default_factory=Counter)

    def __call__(self, piece: np.ndarray | None, first: int) -> list[Problem]:
        if piece is None:
            return self._matches()
        if not self.labels & set(self.foreground):
            room_FHW3 = piece[:, 0]
            labels = labels_of(room_FHW3)
            self.labels |= set(np.flatnonzero(np.bincount(labels.ravel(), minlength=1)).tolist())
            unknown = codes_of(room_FHW3[labels == LABELS["unlabelled"]])
            codes, counts = np.unique(unknown[unknown > 0][: 1 << 20], return_counts=True)
            self.colours.update(dict(zip(codes.tolist(), counts.tolist(), strict=True)))
            self.colours = Counter(dict(self.colours.most_common(100 * _SHOWN_COLOURS)))
        return []

    def _matches(self) -> list[Problem]:
        if self.labels & set(self.foreground):
            return []
        names = {label: name for name, label in LABELS.items()}
        there = [f"{label} ({names[label]}, {COLOURS[label]})" for label in sorted(self.labels)]
        others = [
            str((code >> 16, code >> 8 & 255, code & 255)) for code, _ in self.colours.most_common(_SHOWN_COLOURS)
        ]
        told = f" Colours without a label occur too: {', '.join(others)}." if others else ""
        return [
            Problem(
                f"no pixel of the room view has a foreground label ({', '.join(map(str, sorted(self.foreground)))}). "
                f"Labels that occur: {', '.join(there)}.{told}",
                where=f"{self.path}, {layout.SEGMENTATION}",
                fix="Give labels that occur as --foreground-label, or record the segmentation in the known colours: "
                + ", ".join(f"{label} {names[label]} {colour}" for label, colour in COLOURS.items())
                + ".",
            )
        ]


def _first(wrong_F: np.ndarray, first: int) -> int:
    return first + int(np.flatnonzero(wrong_F)[0])


@dataclass
class _Positions:
    where: str

    def __call__(self, piece: np.ndarray | None, first: int) -> list[Problem]:
        if piece is None or np.isfinite(piece).all():
            return []
        frame = _first(~np.isfinite(piece).all(axis=-1), first)
        return [Problem(f"holds no finite numbers in frame {frame}.", where=self.where, fix="Give metres.")]


@dataclass
class _Quaternions:
    where: str

    def __call__(self, piece: np.ndarray | None, first: int) -> list[Problem]:
        if piece is None:
            return []
        norms = np.linalg.norm(piece.astype(np.float64), axis=-1)
        wrong = ~(np.abs(norms - 1) <= _NORM_TOLERANCE)  # also where it is no number
        if not wrong.any():
            return []
        frame = _first(wrong, first)
        return [
            Problem(
                f"is no rotation in frame {frame}: the quaternion's length is {norms[frame - first]:.4g}, not 1.",
                where=self.where,
                fix="Give unit quaternions in the order w, x, y, z.",
            )
        ]


@dataclass
class _Intrinsics:
    where: str

    def __call__(self, piece: np.ndarray | None, first: int) -> list[Problem]:
        if piece is None:
            return []
        matrices = piece.astype(np.float64)
        focal = matrices[:, [0, 1], [0, 1]]
        right = np.isfinite(matrices).all(axis=(1, 2)) & (focal >= 1).all(axis=1)
        right &= (matrices[:, 2] == (0, 0, 1)).all(axis=1) & (matrices[:, 1, 0] == 0)
        if right.all():
            return []
        frame = _first(~right, first)
        return [
            Problem(
                f"is no pinhole camera's in frame {frame}: {matrices[frame - first].round(6).tolist()}.",
                where=self.where,
                fix="It must read [[fx, s, cx], [0, fy, cy], [0, 0, 1]], in pixels.",
            )
        ]
