"""Text and JSON out of files that anybody may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cosmos_cli.errors import InputError


def read_json(path: Path) -> Any:
    """A JSON document. Raises InputError that names the file, the line and the column."""
    return _parse(read_text(path), path)


def read_text(path: Path) -> str:
    """A UTF-8 text file. Raises InputError that names the file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"cannot be read: {reason}.", where=str(path), fix="Give a readable JSON file.") from error


def _parse(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"is not JSON: {error.msg}.", where=f"{path} line {error.lineno} column {error.colno}"
        ) from error
