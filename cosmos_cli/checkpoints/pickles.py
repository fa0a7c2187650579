"""Pickles that want more than their size suggests, told by their opcodes before anything is built of them.

A tuple that holds another twice, that one another twice, and so on, takes a few bytes a level, and twice the time a
level to hash or to show. So the sizes of all that a pickle describes are counted as if nothing in it were shared.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Sequence
from typing import Any, BinaryIO, cast

from cosmos_cli.checkpoints.file_formats import MAX_PICKLE_BYTES

_MAX_WORK = 1 << 27
"""Objects that may be looked at when each container looks at all that it holds; weights need their number times ten."""
_MAX_STACK = 1 << 22
"""Objects that wait for their container. Python's own pickles hand them over by the thousand."""
_NUM_IN_STREAM = 5
"""Pickles at the start of a torch.save file without zip: a magic number, a version, the machine, weights, storages.

Source: torch 2.13, torch/serialization.py, _legacy_save."""

_FILL = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"})
_MARK = object()


def check_pickles(file: BinaryIO) -> None:
    """Look at the pickles of a torch.save file, which is left where it was.

    Raises:
        ValueError: they are damaged, too large, or take far more than their size. Damaged archives raise anything.
    """
    begin = file.tell()
    if file.read(2) == b"PK":
        file.seek(begin)
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith(".pkl"):
                    check_pickle(archive.read(name))
    else:
        file.seek(begin)
        bounded = _Bounded(file)
        for _ in range(_NUM_IN_STREAM):
            if bounded.is_at_end():  # whoever reads it says what it is
                break
            _check(cast(BinaryIO, bounded))
    file.seek(begin)


def check_pickle(content: bytes) -> None:
    """As `check_pickles`, for one pickle."""
    _check(io.BytesIO(content))


class _Bounded:
    """The start of a stream."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, MAX_PICKLE_BYTES

    def is_at_end(self) -> bool:
        begin = self._file.tell()
        part = self._file.read(1)
        self._file.seek(begin)
        return not part

    def read(self, size: int) -> bytes:
        return self._count(self._file.read(min(size, self._left + 1)))

    def readline(self) -> bytes:
        return self._count(self._file.readline(self._left + 1))

    def _count(self, part: bytes) -> bytes:
        self._left -= len(part)
        if self._left < 0:
            raise ValueError(f"what describes its tensors has more than {MAX_PICKLE_BYTES:,} bytes")
        return part


class _Thing:
    """What an opcode makes. size: of it and all that it holds. is_inside: whether something holds it."""

    __slots__ = ("is_inside", "size")

    def __init__(self, size: int) -> None:
        self.size, self.is_inside = size, False


def _check(file: BinaryIO) -> None:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    work = 0
    try:
        for opcode, argument, _ in pickletools.genops(file):
            name = opcode.name
            if name == "MARK":
                stack.append(_MARK)
            elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
                memo[cast(int, argument)] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                stack.append(memo[cast(int, argument)])
            elif name == "DUP":
                stack.append(stack[-1])
            else:
                taken = _take(stack, opcode.stack_before)
                if name in _FILL:
                    target, *parts = taken
                    if target.is_inside:
                        raise ValueError("what it describes holds itself")
                    stack.append(target)
                else:
                    target, parts = _Thing(1), taken
                    stack += [target] * len(opcode.stack_after)
                for part in parts:
                    part.is_inside = True
                    target.size += part.size
                work += target.size if parts else 1
                if len(stack) > _MAX_STACK:
                    raise ValueError(f"it describes more than {_MAX_STACK:,} objects side by side")
                if work > _MAX_WORK:
                    raise ValueError("what it describes would take far more time than its size suggests")
    except (LookupError, AttributeError) as error:  # of what is not there, or a mark in place of a thing
        raise ValueError("its pickle is damaged") from error


def _take(stack: list[Any], kinds: Sequence[Any]) -> list[Any]:
    """What an opcode takes from the stack, the lowest first, without marks."""
    taken: list[Any] = []
    num_fixed = len(kinds)
    if pickletools.markobject in kinds:
        while (top := stack.pop()) is not _MARK:
            taken.append(top)
        num_fixed = list(kinds).index(pickletools.markobject)
    for _ in range(num_fixed):
        taken.append(stack.pop())
    return taken[::-1]
