"""Defaults that stand in files: of a user, and of a project, in TOML.

An option is taken from the command line, else from its variable, else from the project's file, else from the user's
file. The project's file is `cosmos.toml`, in the working folder or the nearest folder above it that has one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_cli.errors import InputError
from cosmos_cli.files.documents import read_text
from cosmos_cli.files.paths import given_path
from cosmos_cli.files.stores import check_is_here
from cosmos_cli.files.writing import replacing
from cosmos_cli.requests import nearest

PROJECT_FILE = "cosmos.toml"


@dataclass(frozen=True)
class Key:
    """A default that files may hold; it is named as the option that it stands for, with underscores.

    variable: of the environment, which goes before files; options that read it read the files too.
    is_path: whether it is a path, which starts from the folder of the file that names it.
    """

    variable: str
    help: str
    is_path: bool = False


KEYS = {
    "checkpoint_dir": Key("COSMOS_CHECKPOINT_DIR", "folder of checkpoints in the original layout", is_path=True),
    "cache_dir": Key("COSMOS_CACHE_DIR", "folder for what is computed once", is_path=True),
    "device": Key("COSMOS_DEVICE", "where to compute, such as cuda:1"),
    "attention": Key("COSMOS_ATTENTION", "attention backend, such as flash-attention"),
    "max_memory": Key("COSMOS_MAX_MEMORY", "most device memory to use, such as 12GiB"),
    "engine": Key("COSMOS_ENGINE", "what makes the videos of batches, such as ray"),
}
_OF_VARIABLE = {key.variable: name for name, key in KEYS.items()}


@dataclass(frozen=True)
class Default:
    """A value for a key, as text or a path, and the file that holds it."""

    value: str | Path
    file: Path

    @property
    def place(self) -> str:
        """The file as messages name it."""
        return shown(self.file)


def default_of(variable: str | None) -> Default | None:
    """What the files say of the option that reads a variable of the environment. Errors as for `read_file`."""
    name = None if variable is None else _OF_VARIABLE.get(variable)
    return None if name is None else next((found[name] for found in files() if name in found), None)


def files() -> Iterator[dict[str, Default]]:
    """What the project's and the user's file hold, by key, as far as they are there. Errors as for `read_file`."""
    for path in (project_file(), user_file()):
        if path is not None and path.is_file():
            yield read_file(path)


def project_file() -> Path | None:
    """The nearest `cosmos.toml` at or above the working folder."""
    folder = Path.cwd()
    return next((path for each in (folder, *folder.parents) if (path := each / PROJECT_FILE).is_file()), None)


def user_file() -> Path:
    """Where the user's file lies or would lie."""
    from platformdirs import user_config_path

    return user_config_path("cosmos-cli", appauthor=False) / "config.toml"


def read_file(path: Path) -> dict[str, Default]:
    """What one file holds, by key.

    Raises:
        InputError: it cannot be read, is no TOML, or holds something else than keys of `KEYS` with text or numbers.
    """
    found: dict[str, Default] = {}
    for name, value in _parse(path).unwrap().items():
        where = f"{shown(path)}, {name}"
        if name not in KEYS:
            raise InputError("is no default that there is.", where=where, fix=nearest(name, KEYS))
        if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
            raise InputError("must be text or a number.", where=where, fix=f'Write it as {name} = "..."')
        try:
            found[name] = Default(_from(path, value) if KEYS[name].is_path else str(value), path)
        except ValueError as error:
            raise InputError(str(error), where=where) from error
    return found


def change_file(path: Path, name: str, value: str | None) -> None:
    """Set a key in a file, or with None remove it; comments and all else in it stay.

    Raises:
        InputError: as for `read_file`; or the value is a path whose name is no text, which TOML cannot hold.
    """
    from tomlkit import document, dumps

    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise InputError("is no text, and TOML holds nothing else.", where=name, fix="Name another path.") from error
    held: Any = _parse(path) if path.exists() else document()
    if value is not None:
        held[name] = value
    elif name in held:
        del held[name]
    with replacing(path) as temporary:
        temporary.write_text(dumps(held), encoding="utf-8")


def variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the environment says, by key; an empty variable says nothing, as for options."""
    return {name: environment[key.variable] for name, key in KEYS.items() if environment.get(key.variable)}


def shown(path: Path) -> str:
    """A path as people write it: from the working folder or from home where it lies below."""
    home = os.environ.get("HOME")
    for base, start in ((Path.cwd(), ""), *([(Path(home), "~/")] if home else [])):
        if path.is_relative_to(base):
            return start + str(path.relative_to(base))
    return str(path)


def _from(file: Path, value: str | int | float) -> Path:
    return file.parent / check_is_here(given_path(str(value)))


def _parse(path: Path) -> Any:
    from tomlkit import parse
    from tomlkit.exceptions import ParseError

    try:
        return parse(read_text(path))
    except ParseError as error:
        raise InputError(
            f"is no TOML: {error}.", where=shown(path), fix='Write lines such as device = "cuda:1".'
        ) from (error)
