"""Pickles of plain things and numpy arrays, as data sets hold them, read without running anything in them.

A pickle can run any code, so arrays are built out of stand-ins, from what the pickle says of them; no other object is
known.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from cosmos_cli.checkpoints.pickles import check_pickles
from cosmos_cli.errors import InputError
from cosmos_cli.files.writing import replacing

_DTYPES = {"f2": np.float16, "f4": np.float32, "f8": np.float64}
_SKIPPED_BYTES = 1 << 18
"""Parts of a file from this size on are numbers, not what is said of them."""
_MAX_BYTES = 1 << 28


def read_pickle(path: Path, *, skip_numbers: bool = False) -> Any:
    """What a pickle holds: lists, mappings, numbers, words, and a `PickledArray` for each array.

    Args:
        skip_numbers: leave long arrays unread, of which only the shape is wanted.
    Raises:
        InputError: the file is missing, damaged, too large, or asks for other objects.
    """
    with _reading(path), path.open("rb") as opened:
        if (num_bytes := os.fstat(opened.fileno()).st_size) > _MAX_BYTES:
            raise ValueError(f"{num_bytes} bytes")
        file = _File(opened, skip=skip_numbers)
        check_pickles(cast(BinaryIO, file))
        return _Unpickler(file, path).load()


def write_pickled_arrays(path: Path, arrays: list[np.ndarray]) -> None:
    """Write a list of arrays, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(pickle.dumps(arrays, protocol=4))


class _DType:
    """Stand-in for numpy's dtype."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name, self.order = name, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class PickledArray:
    """An array of floating-point numbers, as its pickle describes it."""

    shape: Any = None
    dtype: Any = None
    is_fortran: Any = False
    content: Any = b""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.is_fortran, self.content = state

    def checked_shape(self) -> tuple[int, ...]:
        """Raises ValueError: it is no array of floating-point numbers, or holds another number of them than it says."""
        shape, dtype = self.shape, self.dtype
        is_known = isinstance(dtype, _DType) and dtype.name in _DTYPES and dtype.order in ("<", ">", "=", "|")
        if not is_known or not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("no array of floating-point numbers")
        num_bytes = int(np.dtype(_DTYPES[dtype.name]).itemsize)
        for number in shape:
            num_bytes *= number
        if not isinstance(self.content, bytes | bytearray) or len(self.content) != num_bytes:
            raise ValueError("no array of floating-point numbers")
        return cast(tuple[int, ...], shape)

    def numbers(self) -> np.ndarray:
        """Raises ValueError: see `checked_shape`."""
        shape = self.checked_shape()
        dtype = np.dtype(_DTYPES[self.dtype.name]).newbyteorder(self.dtype.order)
        return np.frombuffer(self.content, dtype).reshape(shape, order="F" if self.is_fortran else "C")


class _Buffered(PickledArray):
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
    "numpy.ndarray": PickledArray,
    "numpy.dtype": _DType,
    "_codecs.encode": _Encoded,
    **{f"numpy.{core}.multiarray._reconstruct": PickledArray for core in ("core", "_core")},
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
                f"was refused, and nothing in it was run: it asks for the Python object `{module}.{name}`. Data need "
                "only numbers and words; objects can run any code.",
                where=str(self._path),
                fix="If you trust its source, write it anew as arrays of numbers.",
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


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or type(error).__name__}.", where=str(path)) from error
    except Exception as error:  # damaged pickles raise anything
        raise InputError("is no pickle, or damaged.", where=str(path)) from error
