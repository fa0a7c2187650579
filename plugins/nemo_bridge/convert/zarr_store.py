"""Reading the stores that NeMo's recipes leave: a folder for each tensor, with files of raw numbers (zarr, version 2).

Nothing else reads them any more: zarr 3 knows no bfloat16, and Megatron has taken this format out. So it is read here,
without either, and nothing in it is run. A part of a tensor is a view of its file where one file holds it.
Source: zarr-specs, version 2; NVIDIA/Megatron-LM, dist_checkpointing/strategies/zarr.py and tensorstore.py.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosmos_cli.checkpoints.checkpoint import Checkpoint, TensorSpec
from cosmos_cli.checkpoints.file_formats import DOWNLOAD_AGAIN
from cosmos_cli.checkpoints.keys import list_names
from cosmos_cli.errors import CheckpointError, Problem
from cosmos_cli.files.documents import read_json
from cosmos_cli.runtime.memory.host import raise_if_too_little
from cosmos_plugins.nemo_bridge.convert.keys import STORED

ARRAY = ".zarray"
"""What tells the shape of a tensor, in its folder."""
BFLOAT16 = "bfloat16"

_DTYPES = {
    **dict.fromkeys((BFLOAT16, "<V2", "|V2"), torch.bfloat16),  # zarr itself writes two bytes of no meaning
    "<f2": torch.float16,
    "<f4": torch.float32,
    "<f8": torch.float64,
    "<i8": torch.int64,
    "<i4": torch.int32,
}
_COMPRESSORS = {"zlib": zlib.MAX_WBITS, "gzip": zlib.MAX_WBITS | 16}
"""Those that Python has, to what it calls their frames."""
_MAX_UNPACKED, _SMALL_BYTES = 4, 64 << 20
"""Times that a chunk may be larger than its file, and what it may be whatever that is."""
_MAX_DIMS = 8
_MAX_HEADER_BYTES = 1 << 16
_MAX_TENSORS = 100_000


class ZarrCheckpoint(Checkpoint):
    """A folder of tensors of which each has a folder of chunks; of those that NeMo keeps, the weights.

    Raises:
        CheckpointError: tensors are unusable, or chunks missing or too short; all are told.
    """

    def __init__(self, folder: Path) -> None:
        places = sorted(path.parent for path in islice(folder.glob(f"{STORED}*/{ARRAY}"), _MAX_TENSORS))
        self._arrays: dict[str, _Array] = {}
        problems: list[Problem] = []
        for place in places:
            try:
                array = _Array.read(place)
                array.check_chunks()
                self._arrays[place.name] = array
            except CheckpointError as error:
                problems += error.problems
        if problems:
            raise CheckpointError(
                f"{folder.name or folder} is not whole: {len(problems)} of its {len(places)} tensors cannot be read.",
                where=str(folder),
                fix="Download or save it again. What is still being written can be read when it is done.",
                others=_few(problems),
            )
        super().__init__(folder, {key: array.spec for key, array in self._arrays.items()})

    def _read(self, key: str) -> Tensor:
        return self._arrays[key].box(None)

    def part(self, key: str, index: int) -> Tensor:
        self._check_open(key)
        return self._arrays[key].box(index)


@dataclass(frozen=True)
class _Array:
    """A tensor in chunks of one shape; those at the edges reach beyond it."""

    folder: Path
    spec: TensorSpec
    chunk: tuple[int, ...]
    separator: str
    compressor: str | None

    @classmethod
    def read(cls, folder: Path) -> _Array:
        path = folder / ARRAY
        header = read_json(path, limit=_MAX_HEADER_BYTES, kind=CheckpointError, fix=DOWNLOAD_AGAIN)
        try:
            return cls._from_header(folder, header)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise CheckpointError(
                f"describes no tensor that can be read: {error}.", where=str(path), fix=DOWNLOAD_AGAIN
            ) from error

    @classmethod
    def _from_header(cls, folder: Path, header: Any) -> _Array:
        if header["zarr_format"] != 2:
            raise ValueError(f"it is of zarr {header['zarr_format']!r}, not 2")
        shape, chunk = _sizes(header["shape"], least=0), _sizes(header["chunks"], least=1)
        if len(shape) != len(chunk):
            raise ValueError("its chunks have another number of dims")
        dtype = _DTYPES.get(header["dtype"]) if isinstance(header["dtype"], str) else None
        if dtype is None:
            raise ValueError(f"its numbers are of type {str(header['dtype'])[:40]!r}")
        compressor = header.get("compressor")
        name = compressor.get("id") if compressor else None
        if name is not None and name not in _COMPRESSORS:
            raise ValueError(f"it is compressed by {str(name)[:40]!r}; save it without")
        if header.get("filters"):
            raise ValueError("its numbers went through filters; save it without")
        if header.get("order", "C") != "C":
            raise ValueError("its numbers are in the order of columns")
        separator = header.get("dimension_separator", ".")
        if separator not in (".", "/"):
            raise ValueError(f"its chunks are separated by {str(separator)[:40]!r}")
        return cls(folder, TensorSpec(torch.Size(shape), dtype), chunk, separator, name)

    @property
    def chunk_bytes(self) -> int:
        return prod(self.chunk) * self.spec.dtype.itemsize

    @property
    def grid(self) -> tuple[int, ...]:
        """Chunks along each dim."""
        return tuple(-(-size // step) for size, step in zip(self.spec.shape, self.chunk, strict=True))

    def check_chunks(self) -> None:
        """Raises CheckpointError: chunks are missing, or have another size."""
        wanted = prod(self.grid)
        # a header may claim any number of chunks: never more are looked for than there are files
        if self.separator == "." and wanted > (present := sum(1 for _ in self.folder.iterdir()) - 1):
            raise CheckpointError(
                f"{self.folder.name} lacks {wanted - present:,} of its {wanted:,} chunks, or more.",
                where=str(self.folder),
            )
        absent, cut = [], []
        for number in range(wanted):  # one by one: all indices of a dim would take what the header claims
            index = _unravel(number, self.grid)
            path = self.path(index)
            try:
                size = path.stat().st_size
            except OSError:
                absent.append(path.name)
                if len(absent) > _MAX_NAMED:
                    break
                continue
            if self.compressor is None and size != self.chunk_bytes:
                cut.append(f"{path.name} has {size:,} bytes instead of {self.chunk_bytes:,}")
            elif self.compressor is not None and self.chunk_bytes > _MAX_UNPACKED * size + _SMALL_BYTES:
                cut.append(f"{path.name} would take {self.chunk_bytes:,} bytes; weights do not shrink like that")
        faults = ([f"{len(absent)} chunks are missing, {absent[0]} first"] if absent else []) + cut[:3]
        if faults:
            raise CheckpointError(f"{self.folder.name}: {'; '.join(faults)}.", where=str(self.folder))

    def path(self, index: tuple[int, ...]) -> Path:
        return self.folder / (self.separator.join(map(str, index)) or "0")

    def box(self, index: int | None) -> Tensor:
        """The tensor, or what it has at an index of its first dim."""
        shape = self.spec.shape
        if index is None:
            begin, end = [0] * len(shape), list(shape)
        else:
            begin, end = [index] + [0] * (len(shape) - 1), [index + 1, *shape[1:]]
        try:
            whole = self._box(begin, end)
        except RuntimeError as error:
            raise_if_too_little(error, self.folder)
            raise
        return whole if index is None else whole[0]

    def _box(self, begin: list[int], end: list[int]) -> Tensor:
        ranges = [range(b // c, -(-e // c)) for b, e, c in zip(begin, end, self.chunk, strict=True)]
        if all(len(steps) == 1 for steps in ranges):
            found = self._chunk(tuple(steps[0] for steps in ranges))
            inside = tuple(
                slice(b - steps[0] * c, e - steps[0] * c)
                for b, e, steps, c in zip(begin, end, ranges, self.chunk, strict=True)
            )
            return found[inside].contiguous()
        whole = torch.empty([e - b for b, e in zip(begin, end, strict=True)], dtype=self.spec.dtype)
        for place in product(*ranges):
            self._copy(place, begin, whole)
        return whole

    def _copy(self, place: tuple[int, ...], begin: list[int], whole: Tensor) -> None:
        """Put what a chunk has of a box into it."""
        source, target = [], []
        for number, step, first, size in zip(place, self.chunk, begin, whole.shape, strict=True):
            low, high = max(number * step, first), min((number + 1) * step, first + size)
            source.append(slice(low - number * step, high - number * step))
            target.append(slice(low - first, high - first))
        whole[tuple(target)] = self._chunk(place)[tuple(source)]

    def _chunk(self, index: tuple[int, ...]) -> Tensor:
        path = self.path(index)
        try:
            if self.compressor is None:
                if path.stat().st_size != self.chunk_bytes:
                    raise ValueError("its size has changed")
                flat = torch.from_file(str(path), shared=False, size=prod(self.chunk), dtype=self.spec.dtype)
            else:
                flat = torch.frombuffer(self._unpacked(path), dtype=self.spec.dtype)
        except Exception as error:  # each layer below has its own kinds
            raise_if_too_little(error, path)
            raise CheckpointError(
                f"{self.folder.name}/{path.name} cannot be read: {error}.", where=str(path), fix=DOWNLOAD_AGAIN
            ) from error
        return flat.view(self.chunk)

    def _unpacked(self, path: Path) -> bytearray:
        assert self.compressor is not None
        unpacker = zlib.decompressobj(_COMPRESSORS[self.compressor])
        content = bytearray(unpacker.decompress(path.read_bytes(), self.chunk_bytes + 1))
        if len(content) != self.chunk_bytes:
            raise ValueError("it unpacks to another size")
        return content


_MAX_NAMED = 1000


def _unravel(number: int, grid: tuple[int, ...]) -> tuple[int, ...]:
    """The index of a chunk in a grid, by its number in C order."""
    index = []
    for size in reversed(grid):
        number, last = divmod(number, size)
        index.append(last)
    return tuple(reversed(index))


def _sizes(numbers: Any, *, least: int) -> tuple[int, ...]:
    if not isinstance(numbers, list) or len(numbers) > _MAX_DIMS:
        raise ValueError(f"{str(numbers)[:40]} is no shape")
    if not all(type(number) is int and least <= number < 1 << 40 for number in numbers):
        raise ValueError(f"{str(numbers)[:80]} is no shape")
    return tuple(numbers)


def _few(problems: list[Problem]) -> Iterator[Problem]:
    """All problems as one."""
    yield list_names("tensors that are not whole", [problem.what for problem in problems])
