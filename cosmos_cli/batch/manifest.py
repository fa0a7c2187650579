"""Batch files: one request per line (JSON Lines), or one JSON array."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_cli.errors import InputError, Problem
from cosmos_cli.files.documents import read_json, read_text
from cosmos_cli.files.missing import exists
from cosmos_cli.media.source import GivenFrames, Source


@dataclass(frozen=True)
class Row:
    """One entry of a batch file.

    place: how messages call it, such as "jobs.jsonl line 3".
    index: its number among the entries, from 0.
    values: field name to raw value.
    """

    place: str
    index: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """An entry that cannot be worked on, and all that is wrong with it."""

    place: str
    index: int
    problems: tuple[Problem, ...]


def read_rows(path: Path) -> list[Row | Fault]:
    """The entries of a batch file in their order; one that is not a JSON object is a fault.

    Raises:
        InputError: the file cannot be read, is not what its first character announces, or has no entries.
    """
    entries = _array(path) if read_text(path).lstrip().startswith("[") else _lines(path)
    if not entries:
        raise InputError("has no rows.", where=str(path), fix="Give one JSON object per line.")
    return [_row(place, index, value) for index, (place, value) in enumerate(entries)]


def _array(path: Path) -> list[tuple[str, Any]]:
    return [(f"{path} entry {number}", value) for number, value in enumerate(read_json(path), start=1)]


def _lines(path: Path) -> list[tuple[str, Any]]:
    entries: list[tuple[str, Any]] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            try:
                entries.append((f"{path} line {number}", json.loads(line)))
            except json.JSONDecodeError as error:
                entries.append((f"{path} line {number}", error))
    return entries


def _row(place: str, index: int, value: Any) -> Row | Fault:
    if isinstance(value, dict):
        return Row(place, index, value)
    if isinstance(value, json.JSONDecodeError):
        return Fault(place, index, (Problem(f"is not JSON: {value.msg} at column {value.colno}.", place),))
    return Fault(place, index, (Problem("is not a JSON object.", place),))


def beside(folder: Path, path: Source) -> Source:
    """A path out of a batch file: as it is if it leads somewhere, else relative to the file's folder."""
    if isinstance(path, GivenFrames):  # a program's, for all rows alike
        return path
    return folder / path if not exists(path) and exists(folder / path) else path
