"""Where the pieces of a distributed checkpoint lie, as JSON: what torch keeps pickled in `.metadata`.

torch's own reader, which reshards, unpickles that file without restriction; in JSON the same is read in a moment, also
for the hundred thousands of pieces that many ranks write, and cannot do anything.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)

from cosmos_cli.errors import CheckpointError, CosmosError
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.writing import json_bytes, replacing

LAYOUT = "layout.json"
_MAX_BYTES = 1 << 30


def write_layout(folder: Path, metadata: Metadata) -> None:
    """Keep what torch tells after saving; of tensors only."""
    pieces = metadata.storage_data or {}
    files = sorted({info.relative_path for info in pieces.values()})
    numbers = {name: number for number, name in enumerate(files)}
    tensors: dict[str, Any] = {}
    for key, entry in metadata.state_dict_metadata.items():
        assert isinstance(entry, TensorStorageMetadata), key
        chunks = []
        for chunk in entry.chunks:
            info = pieces[MetadataIndex(key, chunk.offsets)]
            place = [numbers[info.relative_path], info.offset, info.length]
            chunks.append([list(chunk.offsets), list(chunk.sizes), *place])
        tensors[key] = [str(entry.properties.dtype).removeprefix("torch."), list(entry.size), chunks]
    with replacing(folder / LAYOUT) as temporary:
        temporary.write_bytes(json_bytes({}, as_they_are={"files": files, "tensors": tensors}))


def read_layout(folder: Path) -> Metadata:
    """As torch's reader wants it, checked against the files.

    Raises:
        CheckpointError: it is damaged, or the files are not those that it tells of.
    """
    path = folder / LAYOUT
    try:
        document = read_json(path, limit=_MAX_BYTES, kind=CheckpointError)
        files = [_size_of(folder, name) for name in document["files"]]
        metadata = Metadata({}, {}, {}, StorageMeta())
        for key, (dtype, shape, chunks) in document["tensors"].items():
            _take(metadata, key, _dtype(dtype), _numbers(shape), chunks, files)
        return metadata
    except CosmosError:
        raise
    except Exception as error:  # whatever a damaged document leads to
        raise CheckpointError(
            f"is damaged, or does not belong to the files beside it ({type(error).__name__}: {error}).",
            where=str(path),
            fix="Go on from another checkpoint.",
        ) from error


class LayoutReader(FileSystemReader):
    """torch's reader of a folder whose layout was read here."""

    def __init__(self, folder: Path, metadata: Metadata) -> None:
        super().__init__(folder)
        self._metadata = metadata

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return self._metadata


def _take(
    metadata: Metadata, key: str, dtype: torch.dtype, shape: torch.Size, chunks: Any, files: list[tuple[str, int]]
) -> None:
    boxes, covered = [], 0
    for offsets, sizes, number, start, length in chunks:
        box = ChunkStorageMetadata(_numbers(offsets), _numbers(sizes))
        ends = [begin + size for begin, size in zip(box.offsets, box.sizes, strict=True)]
        if any(end > most for end, most in zip(ends, shape, strict=True)):
            raise ValueError(f"a piece of {key} reaches outside of it")
        name, num_bytes = files[number]
        begin, size = _numbers((start, length))
        if begin + size > num_bytes:
            raise ValueError(f"{name} is truncated: {num_bytes:,} bytes, but {key} ends at {begin + size:,}")
        boxes.append(box)
        covered += prod(box.sizes)
        metadata.storage_data[MetadataIndex(key, box.offsets)] = _StorageInfo(name, begin, size)
    if covered != prod(shape):
        raise ValueError(f"the pieces of {key} do not cover it")
    metadata.state_dict_metadata[key] = TensorStorageMetadata(TensorProperties(dtype=dtype), shape, boxes)
    metadata.planner_data[key] = tuple(key.split(".", 1))


def _size_of(folder: Path, name: Any) -> tuple[str, int]:
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"{name!r} is no name of a file beside it")
    return name, (folder / name).stat().st_size


def _dtype(name: Any) -> torch.dtype:
    found = vars(torch).get(name)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"{name!r} is no type of numbers")
    return found


def _numbers(values: Any) -> torch.Size:
    if not all(type(value) is int and value >= 0 for value in values):
        raise ValueError(f"{values} are not sizes")
    return torch.Size(values)
