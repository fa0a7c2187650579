"""The lines of a ledger: appended to a file, or in a store, which cannot append, kept in parts.

The parts lie under the ledger's name, in the order of their own names: time and token of their writer, and a number.
Their writer writes the last one anew with every line until it has become long.
"""

from __future__ import annotations

import io
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.ahead import read_ahead
from cosmos_cli.files.documents import json_lines
from cosmos_cli.files.store_service import patiently
from cosmos_cli.files.stores import StorePath, looking

_PART_BYTES = 128 << 10
"""About what a line costs to write at most, and so much at least is in a part that is read."""

_TIME_DIGITS = 14


class Lines(Protocol):
    """Where a ledger's lines go."""

    def append(self, lines: bytes) -> None:
        """Add whole lines and see them onto the disk, or into the store. Raises OSError, CosmosError: it cannot."""

    def check(self) -> None:
        """Raises CosmosError: what is written there now would be lost."""

    def close(self) -> None:
        """Let go."""


def open_lines(path: Path) -> Lines:
    """Lines that are added to a ledger."""
    return _PartLines(path) if isinstance(path, StorePath) else _FileLines(path)


def read_lines(path: Path) -> Iterator[Any]:
    """The documents of a ledger, one for each line that is whole; none if it is not there."""
    try:
        for file in _files_of(path):
            yield from json_lines(file)
    except FileNotFoundError:
        return


def check_ledger(path: Path) -> None:
    """Raises InputError: something lies at `path` that is no ledger."""
    if path.is_file() if isinstance(path, StorePath) else path.exists() and not path.is_file():
        raise InputError("is not a file, so that no ledger can be kept there.", where=str(path), fix="Move it away.")


def _files_of(path: Path) -> Iterator[BinaryIO]:
    if not isinstance(path, StorePath):
        with path.open("rb") as file:
            yield file
        return
    with looking([path]):  # a part that is written meanwhile only gets longer
        parts = _parts_of(path)
        read_ahead(parts)
        contents = [part.read_bytes() for part in parts]
    yield from map(io.BytesIO, contents)


def _parts_of(path: StorePath) -> list[StorePath]:
    return sorted(path.glob("*.jsonl"))


class _FileLines:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("a+b", buffering=0)
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(size - 1, 0))
        self._is_torn = self._file.read(1) not in (b"", b"\n")

    def append(self, lines: bytes) -> None:
        is_torn, self._is_torn = self._is_torn, True  # until all of it is there
        _write_all(self._file.fileno(), b"\n" + lines if is_torn else lines)
        os.fsync(self._file.fileno())
        self._is_torn = False

    def check(self) -> None:
        try:
            there = self._path.stat()
        except OSError:
            there = None
        own = os.fstat(self._file.fileno())
        if there is None or (there.st_ino, there.st_dev) != (own.st_ino, own.st_dev):
            raise CosmosError(
                "was moved or removed while cosmos worked for it. What was finished went with it.",
                where=str(self._path.parent),
                fix="Run the same command again where the folder is now.",
            )

    def close(self) -> None:
        self._file.close()


def _write_all(descriptor: int, content: bytes) -> None:
    """The kernel takes at most two gigabytes at a time, and less of a disk that gets full."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class _PartLines:
    def __init__(self, path: StorePath) -> None:
        self._path = path
        self._writer = ""
        self._number, self._content = 0, b""

    def append(self, lines: bytes) -> None:
        if not self._writer:
            self._writer = self._behind_others()
        if len(self._content) > _PART_BYTES:
            self._number, self._content = self._number + 1, b""
        content = self._content + lines
        part = self._path / f"{self._writer}-{self._number:06d}.jsonl"
        patiently(lambda: part.write_bytes(content))
        self._content = content

    def _behind_others(self) -> str:
        """Time and token of this writer; clocks differ, and what is told last counts."""
        [*_, last] = ["", *(part.name for part in _parts_of(self._path))]
        told = last.partition("-")[0]
        now_ms = max(time.time_ns() // 1_000_000, int(told) + 1 if told.isdecimal() else 0)
        return f"{now_ms:0{_TIME_DIGITS}d}-{secrets.token_hex(4)}"

    def check(self) -> None:
        """A store has no folders that could be moved."""

    def close(self) -> None:
        """Nothing is open."""
