"""Where an episode's file holds what, and opening such a file without trusting it.

HDF5 lets a file lead to others: by links, by storage outside and by virtual data sets. Nothing of that is followed.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.missing import is_file, why_missing
from cosmos_cli.files.side_work import reason
from cosmos_cli.requests import shortened
from cosmos_plugins.transfer1.guided.views import VIEWS, View

if TYPE_CHECKING:
    import h5py

# F frames, V = 2 views, H and W pixel height and width

SUFFIXES = (".hdf5", ".h5")
"""How the names of episodes end."""

DEMO = "data/demo_0"
OBSERVATIONS = f"{DEMO}/observations"

MAX_SIDE_PX = 4096
"""Of a picture: a file may declare any size."""

_MAX_CHUNK_BYTES = 256 * 2**20
"""A chunk is the least that can be read."""


_PIECE_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Form:
    """What a data set must be like.

    axes: a number each, or the letter of a length that data sets have in common. is_float: floating point, else uint8.
    """

    axes: tuple[int | str, ...]
    is_float: bool

    @property
    def text(self) -> str:
        shape = ", ".join(map(str, self.axes))
        return f"({shape}) {'floating point' if self.is_float else 'uint8'}"

    def fits(self, data: h5py.Dataset) -> bool:
        kind_fits = data.dtype.kind == "f" and data.dtype.itemsize <= 8 if self.is_float else data.dtype == "uint8"
        return kind_fits and len(data.shape) == len(self.axes) and all(map(_fits, self.axes, data.shape))


def _fits(axis: int | str, size: int) -> bool:
    return size == axis if isinstance(axis, int) else axis == "F" or 1 <= size <= MAX_SIDE_PX


RGB, DEPTH, SEGMENTATION = "rgb_images", "depth_images", "seg_images"


def intrinsics_name(view: View) -> str:
    return f"{view}_camera_intrinsic_matrices"


def positions_name(view: View) -> str:
    return f"{view}_camera_pos"


def quaternions_name(view: View) -> str:
    return f"{view}_camera_quat_w_ros"


_V = len(VIEWS)
FORMS: dict[str, Form] = {
    RGB: Form(("F", _V, "H", "W", 3), is_float=False),
    DEPTH: Form(("F", _V, "H", "W", 1), is_float=True),
    SEGMENTATION: Form(("F", _V, "H", "W", 3), is_float=False),
    **{intrinsics_name(view): Form(("F", 3, 3), is_float=True) for view in VIEWS},
    **{positions_name(view): Form(("F", 3), is_float=True) for view in VIEWS},
    **{quaternions_name(view): Form(("F", 4), is_float=True) for view in VIEWS},
}
"""What guided generation reads, within `OBSERVATIONS`."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """A block in which an episode's file is open to be read.

    Raises:
        InputError: h5py is not installed, there is no such file, it is not HDF5, or the block cannot read it.
    """
    check_installed()
    import h5py

    if not is_file(path):
        raise InputError(f"{why_missing(path)}.", where=str(path))
    with reading(path):
        if not h5py.is_hdf5(path):
            raise InputError("is not an HDF5 file.", where=str(path), fix="Give an episode as the simulation wrote it.")
        with h5py.File(path, "r", locking="best-effort") as file:
            yield file


def check_installed() -> None:
    """Raises InputError: h5py is not installed."""
    if find_spec("h5py") is None:
        raise InputError(
            "episodes are HDF5 files, and h5py, which reads them, is not installed.",
            fix="pip install 'cosmos-cli[hdf5]'",
        )


@contextlib.contextmanager
def reading(path: Path, name: str | None = None) -> Iterator[None]:
    """A block of h5py's work on a file, whose errors of any kind become an InputError.

    Args:
        name: the data set that it is about.
    """
    where = str(path) if name is None else f"{path}, {name}"
    try:
        yield
    except CosmosError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, EOFError) as error:
        raise InputError(
            f"cannot be read: {shortened(reason(error))}.",
            where=where,
            fix="The file may be damaged, cut short, or still open in the program that writes it.",
        ) from error


def find(file: h5py.File, name: str) -> h5py.Dataset | str | None:
    """A data set of the file itself that can be read in bounded memory, or why it is not one; None if it is missing.

    Args:
        name: from the file's root.
    """
    import h5py

    here = walk(file, name)
    if isinstance(here, h5py.Group):
        return "is not a data set"
    return _why_unreadable(here) or here if isinstance(here, h5py.Dataset) else here


def walk(file: h5py.File, name: str) -> h5py.Group | h5py.Dataset | str | None:
    """What has a name in the file itself, or why it is not in there; None if nothing has."""
    import h5py

    here: Any = file
    for part in name.split("/"):
        if not isinstance(here, h5py.Group) or part not in here.keys():  # noqa: SIM118  # `in` follows links
            return None
        if not isinstance(here.get(part, getlink=True), h5py.HardLink):
            return f"leads elsewhere: {part!r} is a link, and only what the file itself holds is read"
        here = here[part]
    return here if isinstance(here, h5py.Group | h5py.Dataset) else "is not a data set"


def _why_unreadable(data: h5py.Dataset) -> str | None:
    import h5py

    created = data.id.get_create_plist()
    # before its shape is asked for, which would open the files that it leads to
    if created.get_layout() == h5py.h5d.VIRTUAL or created.get_external_count():
        return "leads elsewhere: its values lie in other files, and only what the file itself holds is read"
    if data.shape is None or data.dtype.kind not in "fuib":
        return None  # the form says it
    filters = [created.get_filter(number) for number in range(created.get_nfilters())]
    for code, _, _, name in filters:
        if not h5py.h5z.filter_avail(code):
            return f"is compressed in a way that is not known here: filter {code} {name.decode(errors='replace')}"
    if len({code for code, *_ in filters}) < len(filters):
        return "is compressed more than once in the same way"
    return _why_not_whole(data, created.get_layout() == h5py.h5d.CHUNKED)


def _why_not_whole(data: h5py.Dataset, is_chunked: bool) -> str | None:
    """Whether all that it declares is there: what was never written would be read as zeros, however much it is."""
    num_bytes = math.prod(data.shape) * data.dtype.itemsize
    if data.id.get_storage_size() > data.file.id.get_filesize():
        return "declares more bytes than the file has"
    if is_chunked:
        if math.prod(data.chunks) * data.dtype.itemsize > _MAX_CHUNK_BYTES:
            return f"has chunks of more than {_MAX_CHUNK_BYTES // 2**20} MiB"
        wanted = math.prod(math.ceil(size / step) for size, step in zip(data.shape, data.chunks, strict=True))
        if (found := data.id.get_num_chunks()) < wanted:
            return f"was not written to the end: of {wanted:,} chunks that it declares there are {found:,}"
    elif data.id.get_storage_size() < num_bytes:
        return f"was not written to the end: of {num_bytes:,} bytes that it declares there are none"
    return None


def frames_at_once(data: h5py.Dataset, frame_bytes: int) -> int:
    """How many frames of a data set to read or write at a time, in bounded memory, from a multiple of this on.

    Whole chunks where that is not too much, each of which is then packed or unpacked once.
    """
    step = max(1, _PIECE_BYTES // frame_bytes)
    if data.chunks and data.chunks[0] <= 8 * step:
        return int(max(1, step // data.chunks[0]) * data.chunks[0])
    return step
