"""Reading folders written by torch.distributed.checkpoint: tensors in pieces, one tensor at a time, one process.

PyTorch's own reader unpickles the folder's `.metadata` without restriction. Here an unpickler that knows nothing but
inert stand-ins reads it, and the pieces in the `.distcp` files are read like any other untrusted torch.save file.
Source: torch 2.13, torch/distributed/checkpoint/metadata.py and filesystem.py (layout on disk, stable since 2.1).
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from cosmos_cli.checkpoints.checkpoint import Checkpoint, TensorSpec
from cosmos_cli.checkpoints.file_formats import DOWNLOAD_AGAIN, list_members
from cosmos_cli.checkpoints.folders import DISTRIBUTED_METADATA, resolve_files
from cosmos_cli.checkpoints.keys import AVERAGED, MAX_WRAPPERS, WRAPPERS, dots_for_dashes
from cosmos_cli.checkpoints.stand_ins import Record, StandInUnpickler
from cosmos_cli.checkpoints.torch_files import load_without_code
from cosmos_cli.errors import CheckpointError
from cosmos_cli.runtime.memory.host import raise_if_too_little


class DistributedCheckpoint(Checkpoint):
    """A folder with `.metadata` and `*.distcp` files, written by any number of processes.

    Args:
        wrappers: see `open_checkpoint`.
    Raises:
        CheckpointError: the folder is incomplete, damaged or hostile.
    """

    def __init__(self, folder: Path, wrappers: Sequence[str] = WRAPPERS) -> None:
        entries, wrapper = _read_metadata(folder, wrappers)
        super().__init__(folder, {key: spec for key, (spec, _) in entries.items()}, wrapper)
        self._chunks = {key: chunks for key, (_, chunks) in entries.items()}

    def _read(self, key: str) -> Tensor:
        spec, chunks = self._specs[key], self._chunks[key]
        if len(chunks) == 1:
            return self._read_chunk(key, chunks[0])
        tensor = torch.empty(spec.shape, dtype=spec.dtype)
        for chunk in chunks:
            region = tuple(slice(start, start + size) for start, size in zip(chunk.offsets, chunk.sizes, strict=True))
            tensor[region] = self._read_chunk(key, chunk)
        return tensor

    def part(self, key: str, index: int) -> Tensor:
        self._check_open(key)
        shape = self._specs[key].shape[1:]
        chunks = [chunk for chunk in self._chunks[key] if 0 <= index - chunk.offsets[0] < chunk.sizes[0]]
        if len(chunks) == 1:
            return self._read_chunk(key, chunks[0])[index - chunks[0].offsets[0]]
        part = torch.empty(shape, dtype=self._specs[key].dtype)
        for chunk in chunks:
            rest = zip(chunk.offsets[1:], chunk.sizes[1:], strict=True)
            region = tuple(slice(start, start + size) for start, size in rest)
            part[region] = self._read_chunk(key, chunk)[index - chunk.offsets[0]]
        return part

    def _read_chunk(self, key: str, chunk: _Chunk) -> Tensor:
        with chunk.path.open("rb") as file:
            file.seek(chunk.start)
            content = io.BytesIO(file.read(chunk.num_bytes))
        if content.getvalue()[:4] == b"PK\x03\x04":
            try:
                list_members(content, chunk.num_bytes)
            except Exception as error:  # a parser over untrusted bytes can trip in any way; all mean a bad file
                what = f"{chunk.path.name} is damaged where `{key}` is ({error})."
                raise CheckpointError(what, where=str(chunk.path), fix=DOWNLOAD_AGAIN) from error
            content.seek(0)
        piece = load_without_code(content, chunk.path)
        dtype = self._specs[key].dtype
        if not isinstance(piece, Tensor) or piece.is_meta or piece.shape != chunk.sizes or piece.dtype != dtype:
            raise CheckpointError(
                f"{chunk.path.name} does not hold the piece of `{key}` that {DISTRIBUTED_METADATA} describes "
                f"({dtype}, shape {list(chunk.sizes)}).",
                where=str(chunk.path),
                fix=DOWNLOAD_AGAIN,
            )
        return piece.detach()


@dataclass(frozen=True)
class _Chunk:
    """A box of a tensor, and the torch.save bytes that hold it."""

    offsets: torch.Size
    sizes: torch.Size
    path: Path
    start: int
    num_bytes: int


class _Metadata(Record):
    pass


class _TensorEntry(Record):
    pass


class _ValueEntry(Record):
    """Something that is not a tensor, such as a step count."""


_MAX_METADATA_BYTES = 64 << 20
"""A network of thousands of tensors on a thousand ranks has a tenth of that."""

_METADATA_MODULE = "torch.distributed.checkpoint.metadata"
_MEGATRON_MODULE = "megatron.core.dist_checkpointing.strategies.torch"
_STAND_INS: dict[str, type] = {
    f"{_METADATA_MODULE}.Metadata": _Metadata,
    f"{_METADATA_MODULE}.TensorStorageMetadata": _TensorEntry,
    f"{_METADATA_MODULE}.BytesStorageMetadata": _ValueEntry,
    f"{_METADATA_MODULE}.ChunkStorageMetadata": Record,
    f"{_METADATA_MODULE}.MetadataIndex": Record,
    f"{_METADATA_MODULE}.StorageMeta": Record,
    f"{_METADATA_MODULE}.TensorProperties": Record,
    f"{_METADATA_MODULE}._MEM_FORMAT_ENCODING": Record,
    # what the ranks were to write, which Megatron keeps beside
    f"{_MEGATRON_MODULE}.MCoreMetadata": _Metadata,
    f"{_MEGATRON_MODULE}.MCoreSavePlan": Record,
    **{
        f"torch.distributed.checkpoint.planner.{name}": Record
        for name in ("SavePlan", "WriteItem", "WriteItemType", "TensorWriteData", "BytesIOWriteData")
    },
    "torch.distributed.checkpoint.filesystem._StorageInfo": Record,
    "torch.serialization._get_layout": Record,
    "torch.Size": tuple,
    # where the checkpoint was written, which does not matter here; the module is `pathlib._local` in Python 3.13
    "pathlib.PosixPath": Record,
    "pathlib.WindowsPath": Record,
    "pathlib._local.PosixPath": Record,
    "pathlib._local.WindowsPath": Record,
}


def _read_metadata(
    folder: Path, wrappers: Sequence[str]
) -> tuple[dict[str, tuple[TensorSpec, list[_Chunk]]], str | None]:
    """Shape, dtype and pieces of every tensor of the weights, checked against each other and against the files.

    The second is the wrapper that they were in.
    """
    path = folder / DISTRIBUTED_METADATA
    try:
        if path.stat().st_size > _MAX_METADATA_BYTES:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        metadata = StandInUnpickler(path.read_bytes(), path, _STAND_INS.get).load()
        if not isinstance(metadata, _Metadata):
            raise ValueError(f"it holds a {type(metadata).__name__}")
        entries = {
            key: entry for key, entry in metadata["state_dict_metadata"].items() if not isinstance(entry, _ValueEntry)
        }
        # a tensor may be in several pieces, told apart by where they begin
        pieces = {
            (index["fqn"], tuple(index["offset"])): info
            for index, info in metadata["storage_data"].items()
            if index["fqn"] in entries
        }
        files = resolve_files(folder, {info["relative_path"] for info in pieces.values()}, listed_in=path)
        tensors = {key: _read_entry(key, entry, pieces, files) for key, entry in entries.items()}
        names, wrapper = _names_in_wrapper(tensors, metadata.fields.get("planner_data") or {}, wrappers)
    except CheckpointError:
        raise
    except Exception as error:  # a parser over untrusted bytes can trip in any way; all mean that the file is bad
        raise_if_too_little(error, path)
        raise CheckpointError(
            f"{path.name} is damaged, or not of torch.distributed.checkpoint ({type(error).__name__}: {error}).",
            where=str(path),
            fix=DOWNLOAD_AGAIN,
        ) from error
    if not tensors:
        raise CheckpointError(
            f"{path.name} lists no tensors.", where=str(path), fix="Give the folder of the model's weights."
        )
    return {name: tensors[key] for key, name in names.items()}, wrapper


def _names_in_wrapper(
    keys: Collection[str], nesting: Mapping[str, tuple[str, ...]], wrappers: Sequence[str]
) -> tuple[dict[str, str], str | None]:
    """Key to name, of the tensors in the first wrapper that there is; of all tensors where there is none.

    Args:
        nesting: for every key the dicts it was saved in and its name in the innermost, which the key joins by dots.
    """
    around: tuple[str, ...] = ()
    inside = list(keys)
    for depth in range(MAX_WRAPPERS):
        in_dicts = {key: nesting[key] for key in inside if len(nesting.get(key, ())) > depth + 1}
        wrapper = next((name for name in wrappers if any(path[depth] == name for path in in_dicts.values())), None)
        if wrapper is None:
            break
        around = (*around, wrapper)
        inside = [key for key, path in in_dicts.items() if path[depth] == wrapper]
    if not around:
        return {key: key for key in keys}, None
    outermost = AVERAGED if AVERAGED in around else around[0]
    begin = "".join(f"{name}." for name in around)
    return {key: dots_for_dashes(outermost, key.removeprefix(begin)) for key in inside}, outermost


def _read_entry(
    key: str, entry: _TensorEntry, pieces: dict[tuple[str, tuple[int, ...]], Record], files: dict[str, Path]
) -> tuple[TensorSpec, list[_Chunk]]:
    spec = TensorSpec(_size(entry["size"]), entry["properties"].fields[0])
    if not isinstance(key, str) or not isinstance(spec.dtype, torch.dtype):
        raise ValueError(f"{key!r} is not a named tensor")
    chunks = []
    for box in entry["chunks"]:
        info = pieces[key, box["offsets"]]
        path = files[info["relative_path"]]
        if info.fields.get("transform_descriptors"):
            raise CheckpointError(
                f"{path.name} is compressed ({', '.join(info['transform_descriptors'])}), which cannot be read here.",
                where=str(path),
                fix="Save the checkpoint again without transforms.",
            )
        start, num_bytes = _size((info["offset"], info["length"]))
        if start + num_bytes > path.stat().st_size:
            raise CheckpointError(
                f"{path.name} is truncated: {path.stat().st_size:,} bytes, but `{key}` ends at {start + num_bytes:,}.",
                where=str(path),
                fix=DOWNLOAD_AGAIN,
            )
        chunks.append(_Chunk(_size(box["offsets"]), _size(box["sizes"]), path, start, num_bytes))
    for chunk in chunks:
        ends = [start + size for start, size in zip(chunk.offsets, chunk.sizes, strict=True)]
        if any(end > length for end, length in zip(ends, spec.shape, strict=True)):
            raise ValueError(f"a piece of `{key}` reaches outside of it")
    if sum(prod(chunk.sizes) for chunk in chunks) != prod(spec.shape):
        raise ValueError(f"the pieces of `{key}` do not cover it")
    return spec, chunks


def _size(numbers: tuple[int, ...]) -> torch.Size:
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"{numbers} are not sizes")
    return torch.Size(numbers)
