"""What path a text means that a user gave, on a command line, in a variable or in a file."""

from __future__ import annotations

import os
from pathlib import Path

from cosmos_cli.files.stores import stored

_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 4095
"""As Linux and its usual file systems have it."""


def given_path(given: str | Path) -> Path:
    """The path; `~` at its beginning is the home folder, as in a shell. A folder of that name is `./~`.

    Raises:
        ValueError: no file can have this name, and why.
    """
    text = str(given)
    if "\0" in text:
        raise ValueError(f"{_shown(text)} holds a NUL, which no file name can.")
    path = Path(text)
    if text == "~" or text.startswith("~/"):
        try:
            path = path.expanduser()
        except RuntimeError as error:
            raise ValueError(f"{_shown(text)} lies in the home folder, and there is none: set HOME.") from error
    elif path.parts[:1] == ("~",):
        path = path.absolute()  # or it would be the home folder the next time that it is looked at
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ValueError(f"{_shown(text)} holds characters that file names here cannot.") from error
    longest = max(map(len, encoded.split(b"/")))
    if longest > _MAX_NAME_BYTES:
        raise ValueError(f"{_shown(text)} has a name of {longest:,} bytes; names have at most {_MAX_NAME_BYTES}.")
    if len(encoded) > _MAX_PATH_BYTES:
        raise ValueError(f"{_shown(text)} has {len(encoded):,} bytes; paths have at most {_MAX_PATH_BYTES:,}.")
    return path


def given_anywhere(given: str | Path) -> Path:
    """As `given_path`, of a path that may lie in a store. Raises ValueError: as there, and as `stored`."""
    return stored(given_path(given))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
