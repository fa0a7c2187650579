"""What names of files may be: they come from files of others too."""

from __future__ import annotations

from pathlib import Path

from cosmos_cli.errors import InputError


def within(folder: Path, name: str, *, field: str) -> Path:
    """The path of `name` in `folder`, which it must not leave: names may come from files of others.

    Raises:
        InputError: the name is absolute or climbs out of the folder.
    """
    given = Path(name)
    if given.is_absolute() or ".." in given.parts:
        raise InputError(
            f"{name!r} leads out of the output folder.", where=field, fix="Give a name relative to that folder."
        )
    return folder / given
