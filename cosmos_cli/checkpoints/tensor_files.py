"""Files of tensors that are written one tensor after the other, so that one tensor at a time is in memory."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from cosmos_cli.checkpoints.checkpoint import TensorSpec
from cosmos_cli.files.failures import writing

Tensors = Iterable[tuple[str, Tensor]]
"""Names and tensors, each of which is made when its turn comes."""

_ALIGN = 64
"""Bytes of which the numbers of a tensor begin at a multiple, in files of torch.save."""
_PADDING = 0x4246
"""Kind of the extra field that moves them there; torch.save writes the same."""
_HEADER_BYTES, _ZIP64_BYTES = 30, 20
_PIECE_BYTES = 64 << 20

_SAFETENSORS = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32", torch.float64: "F64"}


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which is on the disk when the block ends.

    Raises:
        DiskFull, CosmosError: it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())


def write_numbers(file: Any, tensor: Tensor) -> None:
    """The bytes of a tensor, little-endian and row by row."""
    numbers = tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data
    for begin in range(0, len(numbers), _PIECE_BYTES):
        file.write(numbers[begin : begin + _PIECE_BYTES])


def write_safetensors(path: Path, specs: Mapping[str, TensorSpec], tensors: Tensors) -> None:
    """A safetensors file.

    Args:
        specs: of all tensors, in their order.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, spec in specs.items():
        begin, end = end, end + spec.num_bytes
        header[name] = {
            "dtype": _SAFETENSORS[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [begin, end],
        }
    content = json.dumps(header, separators=(",", ":")).encode()
    content += b" " * (-len(content) % 8)
    with new_file(path) as file:
        file.write(struct.pack("<Q", len(content)))
        file.write(content)
        for name, tensor in tensors:
            _check_is(name, specs[name], tensor)
            write_numbers(file, tensor)


def write_torch(path: Path, specs: Mapping[str, TensorSpec], tensors: Tensors) -> None:
    """A dict of tensors as torch.save writes it: it can be memory-mapped, and loads with weights_only.

    Args:
        specs: of all tensors, in their order.
    """
    numbers = {name: number for number, name in enumerate(specs)}
    with new_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _write_member(archive, file, "data.pkl", [_described(specs)])
        _write_member(archive, file, "byteorder", [b"little"])
        for name, tensor in tensors:
            _check_is(name, specs[name], tensor)
            _write_member(archive, file, f"data/{numbers[name]}", tensor)
        _write_member(archive, file, "version", [b"3\n"])


def _check_is(name: str, spec: TensorSpec, tensor: Tensor) -> None:
    if tensor.shape != spec.shape or tensor.dtype != spec.dtype:
        raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, not {spec.dtype} {list(spec.shape)}")


def _write_member(archive: zipfile.ZipFile, file: BinaryIO, name: str, content: Tensor | list[bytes]) -> None:
    info = zipfile.ZipInfo(f"archive/{name}")
    begin = file.tell() + _HEADER_BYTES + len(info.filename) + _ZIP64_BYTES + 4
    info.extra = struct.pack("<HH", _PADDING, pad := -begin % _ALIGN) + b"Z" * pad
    with archive.open(info, "w", force_zip64=True) as member:
        if isinstance(content, Tensor):
            write_numbers(member, content)
        else:
            member.writelines(content)


class _Numbers:
    """Stands for a storage in a pickle."""

    def __init__(self, number: int, spec: TensorSpec) -> None:
        self.number, self.spec = number, spec


class _Stored:
    """Stands for a tensor in a pickle."""

    def __init__(self, number: int, spec: TensorSpec) -> None:
        self._number, self._spec = number, spec

    def __reduce__(self) -> tuple[Any, ...]:
        shape = self._spec.shape
        strides = torch.empty(shape, device="meta").stride()
        storage = _Numbers(self._number, self._spec)
        return torch._utils._rebuild_tensor_v2, (storage, 0, tuple(shape), tuple(strides), False, OrderedDict())


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, _Numbers):
            return None
        kind = getattr(torch, _STORAGES[obj.spec.dtype])
        return "storage", kind, str(obj.number), "cpu", obj.spec.shape.numel()


_STORAGES = {
    torch.bfloat16: "BFloat16Storage",
    torch.float16: "HalfStorage",
    torch.float32: "FloatStorage",
    torch.float64: "DoubleStorage",
}


def _described(specs: Mapping[str, TensorSpec]) -> bytes:
    content = BytesIO()
    _Pickler(content, protocol=2).dump(
        {name: _Stored(number, spec) for number, (name, spec) in enumerate(specs.items())}
    )
    return content.getvalue()
