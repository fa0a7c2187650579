"""Text embeddings as the originals keep them: a pickle of a list with one array, (tokens, channels).

A pickle can run any code, so only arrays of floating-point numbers are built, out of stand-ins; nothing else is known.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from cosmos_cli.checkpoints.pickles import check_pickles
from cosmos_cli.errors import InputError
from cosmos_cli.files.writing import replacing

# L text tokens, C channels

SUFFIXES = (".pickle", ".pkl")
_DTYPES = {"f2": np.float16, "f4": np.float32, "f8": np.float64}
_SKIPPED_BYTES = 1 << 18
"""Parts of a file from this size on are numbers, not what is said of them."""
_MAX_BYTES = 1 << 28


def read_embedding(path: Path, num_tokens: int | None, channels: int) -> Tensor:
    """An embedding as (num_tokens, channels) float32: cut, or followed by zeros; None takes it as long as it is.

    Raises:
        InputError: the file is missing, damaged, hostile, of another width, or its numbers are none.
    """
    array_LC = _read(path).numbers(path)
    check_shape(path, array_LC.shape, channels)
    if not np.isfinite(array_LC).all():
        raise InputError("holds numbers that are not finite.", where=str(path), fix="Compute it again: prepare-data.")
    text_LC = torch.zeros(len(array_LC) if num_tokens is None else num_tokens, channels)
    kept_LC = torch.from_numpy(array_LC[:num_tokens].astype(np.float32))
    text_LC[: len(kept_LC)] = kept_LC
    return text_LC


def check_embedding(path: Path, channels: int) -> None:
    """As `read_embedding`, from what the file says of its numbers, which are not read."""
    found = _read(path, skip_numbers=True)
    check_shape(path, found.checked_shape(path), channels)


def check_shape(path: Path, shape: tuple[int, ...], channels: int) -> None:
    """Raises InputError: it is not the shape of an embedding of this width."""
    if len(shape) != 2 or not shape[0] or shape[1] != channels:
        raise InputError(
            f"is an array of {' x '.join(map(str, shape)) or 'no shape'}; the model reads tokens x {channels}.",
            where=str(path),
            fix="Compute it again: prepare-data.",
        )


def write_embedding(path: Path, text_LC: Tensor) -> None:
    """Write an embedding for `read_embedding` and for the originals: whole or not at all, float16."""
    array_LC = text_LC.float().cpu().numpy().astype(np.float16)
    with replacing(path) as temporary:
        temporary.write_bytes(pickle.dumps([array_LC], protocol=4))


class _DType:
    """Stand-in for numpy's dtype."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name, self.order = name, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class _Array:
    """Stand-in for an array: what its pickle says of it."""

    shape: Any = None
    dtype: Any = None
    is_fortran: Any = False
    content: Any = b""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.is_fortran, self.content = state

    def checked_shape(self, path: Path) -> tuple[int, ...]:
        """Raises InputError: it is no array of floating-point numbers, or holds another number of them than it says."""
        shape, dtype = self.shape, self.dtype
        is_known = isinstance(dtype, _DType) and dtype.name in _DTYPES and dtype.order in ("<", ">", "=", "|")
        if not is_known or not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise _strange(path)
        num_bytes = int(np.dtype(_DTYPES[dtype.name]).itemsize)
        for number in shape:
            num_bytes *= number
        if not isinstance(self.content, bytes | bytearray) or len(self.content) != num_bytes:
            raise _strange(path)
        return cast(tuple[int, ...], shape)

    def numbers(self, path: Path) -> np.ndarray:
        """Raises InputError: see `checked_shape`."""
        shape = self.checked_shape(path)
        dtype = np.dtype(_DTYPES[self.dtype.name]).newbyteorder(self.dtype.order)
        return np.frombuffer(self.content, dtype).reshape(shape, order="F" if self.is_fortran else "C")


class _Buffered(_Array):
    """An array as pickles of protocol 5 describe it."""

    def __init__(self, content: Any, dtype: Any, shape: Any, order: Any) -> None:
        self.content, self.dtype, self.shape, self.is_fortran = content, dtype, shape, order == "F"


class _Encoded(bytes):
    """Bytes as pickles of protocol 2 spell them."""

    def __new__(cls, text: Any, encoding: Any) -> _Encoded:
        if encoding != "latin1":
            raise ValueError(encoding)
        return super().__new__(cls, str(text), "latin1")


# classes all, since a pickle could change a function
_STAND_INS = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _DType,
    "_codecs.encode": _Encoded,
    **{f"numpy.{core}.multiarray._reconstruct": _Array for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _Buffered for core in ("core", "_core")},
}


class _Unpickler(pickle._Unpickler):
    """Python's own, since the one in C makes room for as many objects as a single number in the file says."""

    def __init__(self, file: Any, path: Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        stand_in = _STAND_INS.get(f"{module}.{name}")
        if stand_in is None:
            raise InputError(
                f"was refused, and nothing in it was run: it asks for the Python object `{module}.{name}`. Embeddings "
                "need only arrays of numbers; objects can run any code.",
                where=str(self._path),
                fix="Compute it again: prepare-data.",
            )
        return stand_in


class _File:
    """A file whose large parts may be left unread: zeros stand for them."""

    def __init__(self, file: BinaryIO, *, skip: bool) -> None:
        self._file, self._size, self._skip = file, os.fstat(file.fileno()).st_size, skip
        self.seek, self.tell, self.readline = file.seek, file.tell, file.readline

    def read(self, size: int = -1) -> bytes:
        left = self._size - self._file.tell()
        if size > left:
            size = left  # whoever asked for more finds that the file ends
        if self._skip and size >= _SKIPPED_BYTES:
            self._file.seek(size, os.SEEK_CUR)
            return bytes(size)
        return self._file.read(size)

    def readinto(self, buffer: Any) -> int:
        part = self.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def _read(path: Path, *, skip_numbers: bool = False) -> _Array:
    """The first array of a pickle."""
    with _reading(path), path.open("rb") as opened:
        if os.fstat(opened.fileno()).st_size > _MAX_BYTES:
            raise _strange(path)
        file = _File(opened, skip=skip_numbers)
        check_pickles(cast(BinaryIO, file))
        found = _Unpickler(file, path).load()
    if isinstance(found, list | tuple) and found:
        found = found[0]
    if not isinstance(found, _Array):
        raise _strange(path)
    return found


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"cannot be read: {reason}.", where=str(path), fix="Compute it: prepare-data.") from error
    except Exception as error:  # damaged pickles raise anything
        raise InputError(
            "is no pickle of an embedding, or damaged.", where=str(path), fix="Compute it again: prepare-data."
        ) from error


def _strange(path: Path) -> InputError:
    return InputError(
        "holds no array of floating-point numbers.", where=str(path), fix="Compute it again: prepare-data."
    )
