"""Text and JSON that anybody may have written: read up to a limit, and refused in words that say where and why.

Text is UTF-8, with or without a byte order mark. JSON is what the standard says: NaN and Infinity are none of it, and a
key that comes twice in one object is an error, since one of its values would be lost. A `\\udcXX` in a string stands
for a byte of a file name that is not UTF-8, as Python has it; only files may hold it, and only where a path is meant.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.stores import StorePath

MAX_BYTES = 32 << 20
"""Of a document, unless its reader says otherwise: of JSON, that is up to 1 GB in memory."""
MAX_DEPTH = 64
"""Of arrays and objects in each other."""
MAX_DIGITS = 100
"""Of a whole number."""
MAX_SIDECAR_BYTES = 1 << 20
"""Of what stands beside a video under its name, which nobody has asked to read."""
_MAX_LINE_BYTES = 1 << 20
"""Of one of many lines that programs write."""

_OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark is the beginning of this one
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}

_HALVES = re.compile(
    # in the order of the alternatives: a whole pair, any other escape, half of a pair
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\(?!u[dD][89a-fA-F])."
    r"|(?P<half>\\u[dD](?P<rest>[89a-fA-F][0-9a-fA-F]{2}))",
    re.DOTALL,
)


def read_json(
    path: Path,
    *,
    limit: int = MAX_BYTES,
    from_pipes: bool = False,
    kind: type[CosmosError] = InputError,
    fix: str | None = None,
) -> Any:
    """A JSON document. Arguments and errors as for `read_text`; the line and the column are named."""
    text = read_text(path, limit=limit, from_pipes=from_pipes, kind=kind, fix=fix)
    return parse_json(text, where=str(path), has_names=True, kind=kind, fix=fix)


def read_text(
    path: Path,
    *,
    limit: int = MAX_BYTES,
    from_pipes: bool = False,
    kind: type[CosmosError] = InputError,
    fix: str | None = None,
) -> str:
    """A text file, as it is but for a byte order mark.

    Args:
        limit: bytes that it may have.
        from_pipes: whether it may be a pipe or a device, which only a file that the user names should be: it is read
            once and up to the limit, but may keep the reader waiting.
        kind: of error to raise.
        fix: what to do about any fault; each has its own advice, if left out.
    Raises:
        CosmosError: of that kind: it cannot be read, is too large, or not UTF-8.
    """
    try:
        content = _content(path, limit, from_pipes)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise kind(
            f"cannot be read: {reason}.", where=str(path), fix=fix or "Give a file that you can read."
        ) from error
    if len(content) > limit:
        raise kind(
            f"is larger than {_amount(limit)}, the most that is read of such a file.",
            where=str(path),
            fix=fix or "Check the path, or divide it.",
        )
    return _decode(content, str(path), kind, fix)


def parse_json(
    content: str | bytes,
    *,
    where: str,
    line: int | None = None,
    has_names: bool = False,
    kind: type[CosmosError] = InputError,
    fix: str | None = None,
) -> Any:
    """A JSON document out of text, or out of bytes that a file or a server gave.

    Args:
        where: what they are called in errors.
        line: their number, if they are one line of many.
        has_names: whether strings may hold bytes of file names.
        kind, fix: as for `read_text`.
    Raises:
        CosmosError: of that kind: it is not JSON, or more than a program should have to bear.
    """
    text = _decode(content, where, kind, fix) if isinstance(content, bytes) else content
    try:
        _refuse_halves(text, has_names)
        document = _DECODER.decode(text)
        _refuse_depth(document)
    except _Refused as refusal:
        what, place = refusal.what, refusal.place(text)
    except json.JSONDecodeError as error:
        reason = error.msg.removesuffix(" at").removesuffix(" starting") if text.strip() else "it is empty"
        what, place = f"is not JSON: {reason}.", error.pos
    except RecursionError:
        what, place = _TOO_DEEP, None
    else:
        return document
    if place is not None:
        where += f" {_line_and_column(text, place, line or 1)}"
    elif line is not None:
        where += f" line {line}"
    raise kind(what, where=where, fix=fix)


def json_lines(file: BinaryIO) -> Iterator[Any]:
    """The documents of a file that programs append lines to; a line that is none is passed over, however long it is."""
    while line := file.readline(_MAX_LINE_BYTES):
        if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(_MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            continue
        try:
            yield parse_json(line, where="line", has_names=True)
        except CosmosError:
            continue


def _content(path: Path, limit: int, from_pipes: bool) -> bytes:
    """Up to one byte more than the limit."""
    if not from_pipes and not path.is_dir() and not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file")
    if isinstance(path, StorePath):
        return path.read_bytes(limit + 1)
    parts = []
    with path.open("rb") as file:
        # piece by piece: one read of the limit would take its memory for the smallest file
        while limit >= 0 and (part := file.read(min(limit + 1, 1 << 20))):
            parts.append(part)
            limit -= len(part)
    return b"".join(parts)


def _decode(content: bytes, where: str, kind: type[CosmosError], fix: str | None) -> str:
    other = next((name for mark, name in _OTHER_MARKS.items() if content.startswith(mark)), None)
    if other is None and b"\0" in content[:4]:
        other = "UTF-16 or UTF-32"
    if other is not None:
        raise kind(f"is {other} text, not UTF-8.", where=where, fix=fix or "Save it as UTF-8.")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise kind(
            f"is not UTF-8 text: there is a byte 0x{error.object[error.start]:02x}.",
            where=f"{where} line {line} column {column}",
            fix=fix or "Save it as UTF-8.",
        ) from error


class _Refused(ValueError):
    """JSON that is not taken. literal: what it stumbled over, outside of strings; or pos: where."""

    def __init__(self, what: str, *, literal: str | None = None, pos: int | None = None) -> None:
        super().__init__(what)
        self.what, self._literal, self._pos = what, literal, pos

    def place(self, text: str) -> int | None:
        return self._pos if self._literal is None else _first_outside_strings(text, self._literal)


def _first_outside_strings(text: str, literal: str) -> int | None:
    start = 0
    while True:
        quote = text.find('"', start)
        found = text.find(literal, start, len(text) if quote < 0 else quote)
        if found >= 0 or quote < 0:
            return None if found < 0 else found
        _, start = _PLAIN.raw_decode(text, quote)


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _Refused(f"has a number of {len(text):,} digits, more than anything here can have.", literal=text)
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        shown = text if len(text) <= 40 else text[:37] + "..."
        raise _Refused(f"has the number {shown}, which is too large.", literal=text)
    return value


def _no_number(name: str) -> float:
    raise _Refused(f"is not JSON: {name} is not a number there.", literal=name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Refused(f"has the key {twice[:60]!r} twice in one object.")
    return entries


def _refuse_halves(text: str, has_names: bool) -> None:
    for found in _HALVES.finditer(text) if "\\u" in text else ():
        if (rest := found["rest"]) is None:
            continue
        is_of_a_name = rest[0] in "cC" and rest[1] in "89abcdefABCDEF"
        if not (has_names and is_of_a_name):
            raise _Refused(f"has half a character, {found['half']}, without the other half.", pos=found.start())


_TOO_DEEP = f"is nested more than {MAX_DEPTH} levels deep."


def _refuse_depth(document: Any) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise _Refused(_TOO_DEEP)


_PLAIN = json.JSONDecoder()
_DECODER = json.JSONDecoder(
    parse_int=_whole_number, parse_float=_number, parse_constant=_no_number, object_pairs_hook=_object
)


def _line_and_column(text: str, place: int, first_line: int) -> str:
    line = text.count("\n", 0, place) + first_line
    return f"line {line} column {place - text.rfind(chr(10), 0, place)}"


def _amount(num_bytes: int) -> str:
    return f"{num_bytes >> 20} MiB" if num_bytes >= 1 << 20 else f"{num_bytes:,} bytes"
