"""Taking the weights out of TorchScript archives (`.jit`), whose program is left unread.

Such a file is a zip of code, constants, a pickle that lists the modules with their attributes, and the bytes of each
tensor. Only the pickle and the bytes are read; the pickle by an unpickler that knows nothing but inert stand-ins.
Source: torch 2.13, torch/csrc/jit/serialization/pickler.cpp (layout, stable since 1.4).
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosmos_cli.checkpoints.checkpoint import Checkpoint, TensorSpec
from cosmos_cli.checkpoints.file_formats import DOWNLOAD_AGAIN, list_members
from cosmos_cli.checkpoints.stand_ins import Record, StandInUnpickler
from cosmos_cli.errors import CheckpointError
from cosmos_cli.runtime.memory.host import raise_if_too_little

# An archive of the largest published tokenizers has hundreds; a crafted pickle could describe exponentially many.
_MAX_ATTRIBUTES = 1_000_000


class TorchScriptCheckpoint(Checkpoint):
    """The tensors of one or several TorchScript archives, each under the path of its module and attribute.

    Args:
        path: what to name in messages about all of them.
        archives: `.jit` files; no name may be in two of them.
    Raises:
        CheckpointError: a file is missing, no TorchScript, damaged or hostile, or two hold the same name.
    """

    def __init__(self, path: Path, *archives: Path) -> None:
        self._places: dict[str, tuple[Path, _StoredTensor]] = {}
        for archive in archives:
            for name, stored in _read_archive(archive).items():
                if name in self._places:
                    raise CheckpointError(
                        f"{archive.name} and {self._places[name][0].name} both hold `{name}`.",
                        where=str(archive),
                        fix="Give files that complete each other, such as an encoder and a decoder.",
                    )
                self._places[name] = archive, stored
        super().__init__(path, {name: stored.spec for name, (_, stored) in self._places.items()})

    def _read(self, key: str) -> Tensor:
        archive, stored = self._places[key]
        try:
            with zipfile.ZipFile(archive) as file:
                return stored.read(file)
        except Exception as error:  # zipfile raises many kinds over damaged members; all mean that the file is bad
            raise_if_too_little(error, archive)
            raise _damaged(archive, error) from error


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, told by its content."""
    try:
        with path.open("rb") as file:
            members = list_members(file, path.stat().st_size)
    except Exception:  # a parser over untrusted bytes can trip in any way; whoever opens the file will say how
        return False
    return any(member.filename.partition("/")[2] == "constants.pkl" for member in members)


@dataclass(frozen=True)
class _Storage:
    """Bytes in the archive that one or several tensors share."""

    member: str
    dtype: torch.dtype
    num_elements: int


@dataclass(frozen=True)
class _StoredTensor:
    """A tensor as the pickle describes it: a box in a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.stride)
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f"{numbers} are not sizes")
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        if 0 not in self.shape and last >= self.storage.num_elements:
            raise ValueError(f"a tensor reaches outside of {self.storage.member}")

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec(torch.Size(self.shape), self.storage.dtype)

    def read(self, archive: zipfile.ZipFile) -> Tensor:
        """Read and check (CRC) the storage; the tensor is a view of it."""
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=self.storage.dtype)
        # frombuffer wants memory that it may write to
        elements = torch.frombuffer(bytearray(archive.read(self.storage.member)), dtype=self.storage.dtype)
        return elements.as_strided(self.shape, self.stride, self.offset)


_STORAGE_DTYPES = {
    f"torch.{name}Storage": dtype
    for name, dtype in {
        "Double": torch.float64,
        "Float": torch.float32,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, stride: Any, *_: Any) -> _StoredTensor:
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor has no storage")
    return _StoredTensor(storage, offset, tuple(shape), tuple(stride))


def _first(value: Any, *_: Any) -> Any:
    return value


_STAND_INS: dict[str, Any] = {
    **_STORAGE_DTYPES,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "collections.OrderedDict": Record,
    # lists and dicts with a note of their element type
    "torch.jit._pickle.restore_type_tag": _first,
    "torch.jit._pickle.build_intlist": _first,
    "torch.jit._pickle.build_doublelist": _first,
    "torch.jit._pickle.build_boollist": _first,
    "torch.jit._pickle.build_tensorlist": _first,
    "torch.device": Record,
}


def _stand_in(qualified_name: str) -> Any:
    # modules and other classes whose code is in the archive
    return Record if qualified_name.startswith("__torch__.") else _STAND_INS.get(qualified_name)


class _ModuleUnpickler(StandInUnpickler):
    """Reads the module tree; tensors come out as `_StoredTensor`."""

    def __init__(self, content: bytes, path: Path, member_of: Callable[[str], zipfile.ZipInfo]) -> None:
        super().__init__(content, path, _stand_in)
        self._member_of = member_of

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, num_elements = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(num_elements) is not int:
            raise ValueError(f"{pid!r} is not a storage")
        member = self._member_of(key)
        if member.file_size != num_elements * dtype.itemsize:
            raise ValueError(f"{member.filename} has {member.file_size} bytes for {num_elements} of {dtype}")
        return _Storage(member.filename, dtype, num_elements)


def _read_archive(path: Path) -> dict[str, _StoredTensor]:
    """Name and place of every tensor of one archive."""
    if not path.is_file():
        raise CheckpointError(
            f"{path.name} does not exist.", where=str(path), fix="Check the path, or download the checkpoint."
        )
    try:
        with path.open("rb") as file:
            list_members(file, path.stat().st_size)
            with zipfile.ZipFile(file) as archive:
                tensors = _read_modules(archive, path)
    except CheckpointError:
        raise
    except Exception as error:  # a parser over untrusted bytes can trip in any way; all mean that the file is bad
        raise_if_too_little(error, path)
        raise _damaged(path, error) from error
    if not tensors:
        raise CheckpointError(
            f"{path.name} holds no named tensors: its weights may have been frozen into the program.",
            where=str(path),
            fix="Give an archive saved without torch.jit.freeze, or a plain state dict.",
        )
    return tensors


def _read_modules(archive: zipfile.ZipFile, path: Path) -> dict[str, _StoredTensor]:
    # everything lies in one top folder whose name is free
    folders = {name.partition("/")[0] for name in archive.namelist() if name.partition("/")[2] == "constants.pkl"}
    if len(folders) != 1:
        raise CheckpointError(
            f"{path.name} is not a TorchScript archive.", where=str(path), fix="Give a file saved by torch.jit.save."
        )
    (folder,) = folders
    if f"{folder}/byteorder" in archive.namelist():
        byte_order = archive.read(f"{folder}/byteorder").decode()
        if byte_order != sys.byteorder:
            raise ValueError(f"its numbers are {byte_order}-endian")
    listing = archive.getinfo(f"{folder}/data.pkl")
    unpickler = _ModuleUnpickler(archive.read(listing), path, lambda key: archive.getinfo(f"{folder}/data/{key}"))
    tensors: dict[str, _StoredTensor] = {}
    for number, (name, value) in enumerate(_attributes(unpickler.load())):
        if number >= _MAX_ATTRIBUTES:
            raise ValueError(f"it has more than {_MAX_ATTRIBUTES:,} attributes")
        if isinstance(value, _StoredTensor):
            tensors[name] = value
    return tensors


def _attributes(module: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every attribute of a module and of the modules in it, with its dotted path."""
    if not isinstance(module, Record) or not isinstance(module.fields, dict):
        raise ValueError("it describes no module")
    for name, value in module.fields.items():
        yield f"{prefix}{name}", value
        if isinstance(value, Record) and isinstance(value.fields, dict):
            yield from _attributes(value, f"{prefix}{name}.")


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path.name} is truncated or damaged, or torch.jit did not save it ({type(error).__name__}: {error}).",
        where=str(path),
        fix=DOWNLOAD_AGAIN,
    )
