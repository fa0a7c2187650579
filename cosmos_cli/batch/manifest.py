"""Batch files: one request per line (JSON Lines), or one JSON array."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_cli.errors import InputError, Problem
from cosmos_cli.files.documents import parse_json, read_text
from cosmos_cli.files.missing import exists
from cosmos_cli.media.source import GivenFrames, Source

MAX_ROWS = 100_000


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

    The file is read once, so that it may be a pipe. An object may stretch over several lines if it is the only one.

    Raises:
        InputError: the file cannot be read, is not what its first character announces, is JSON but no JSON Lines, or
            has no entries, or too many.
    """
    text = read_text(path, from_pipes=True)
    is_array = text.lstrip().startswith("[")
    rows = _of_array(text, path) if is_array else _of_lines(text, path)
    if not rows:
        raise InputError("has no rows.", where=str(path), fix="Give one JSON object per line.")
    return rows


def _of_array(text: str, path: Path) -> list[Row | Fault]:
    entries = parse_json(text, where=str(path), has_names=True)
    _refuse_too_many(len(entries), path)
    return [_row(f"{path} entry {index + 1}", index, value) for index, value in enumerate(entries)]


def _of_lines(text: str, path: Path) -> list[Row | Fault]:
    # at line feeds only: other characters that end lines may stand inside a string
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    _refuse_too_many(len(lines), path)
    rows: list[Row | Fault] = []
    for index, (number, line) in enumerate(lines):
        place = f"{path} line {number}"
        try:
            rows.append(_row(place, index, parse_json(line, where=str(path), line=number, has_names=True)))
        except InputError as error:
            rows.append(Fault(place, index, tuple(error.problems)))
    if len(rows) > 1 and isinstance(rows[0], Fault):
        return _if_lines(rows, text, path)
    return rows


def _if_lines(rows: list[Row | Fault], text: str, path: Path) -> list[Row | Fault]:
    """These rows, unless the file is not JSON Lines at all: that is one error, not one for each of its lines."""
    start = len(text) - len(text.lstrip())
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        if any(isinstance(row, Row) for row in rows):
            return rows
        end = len(text)  # what is wrong with the whole says more than what is wrong with its parts
    if text[start:end].count("\n") == 0:
        return rows
    if not text[end:].strip():
        return [_row(f"{path} entry 1", 0, parse_json(text, where=str(path), has_names=True))]
    raise InputError(
        "holds objects that stretch over several lines.",
        where=str(path),
        fix="Write each on a line of its own (`jq -c .` does), or all as one JSON array.",
    )


def _refuse_too_many(num_rows: int, path: Path) -> None:
    if num_rows > MAX_ROWS:
        raise InputError(f"has {num_rows:,} rows, more than {MAX_ROWS:,}.", where=str(path), fix="Divide it.")


def _row(place: str, index: int, value: Any) -> Row | Fault:
    if isinstance(value, dict):
        return Row(place, index, value)
    return Fault(place, index, (Problem("is not a JSON object.", place),))


def is_kept(path: Path) -> bool:
    """Whether a batch file can be read again, as opposed to a pipe."""
    return path.is_file()


def folder_of(path: Path) -> Path:
    """Where the files of rows are looked up after the working folder: beside the batch file, if it is one."""
    return path.parent if is_kept(path) else Path()


def ledger_name(path: Path) -> str:
    """The ledger of a batch file is called as the file is; those of all pipes are called alike.

    The number of a pipe is another one each time.
    """
    return f"{path.stem if is_kept(path) else 'pipe'}.ledger.jsonl"


def check_kept(path: Path) -> None:
    """Raises InputError: several workers, each of which reads the file, cannot read a pipe."""
    if path.exists() and not is_kept(path):
        raise InputError(
            "is a pipe, which only one of several workers could read.",
            where=str(path),
            fix="Save the rows as a file, or use one GPU.",
        )


def beside(folder: Path, path: Source) -> Source:
    """A path out of a batch file: as it is if it leads somewhere, else relative to the file's folder."""
    if isinstance(path, GivenFrames):  # a program's, for all rows alike
        return path
    return folder / path if not exists(path) and exists(folder / path) else path
