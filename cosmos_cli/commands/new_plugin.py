"""A package to begin a plugin with: a copy of the one in `plugin_template`, under another name."""

from __future__ import annotations

import keyword
import re
import shutil
from contextlib import suppress
from pathlib import Path

import cosmos_cli
from cosmos_cli import interrupts, registry
from cosmos_cli.errors import InputError
from cosmos_cli.files.failures import writing
from cosmos_cli.files.makers import has_lost_its_maker, new_name
from cosmos_cli.registered import CORE_COMMANDS

TEMPLATE = "mirage"
"""The family of the template, in names of modules and commands; with a capital, in those of classes."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MOST_LETTERS = 40
_UNFINISHED = ".cosmos-new-"
"""Begins the name of a package in the making."""
_OWN_PACKAGES = ("cli", "plugins")


def write_plugin(name: str, folder: Path | None = None) -> Path:
    """Write the package `cosmos-NAME` with a family of that name; whole or not at all.

    Args:
        name: lower-case words joined by hyphens.
        folder: to write; None is `cosmos-NAME` in the working folder.
    Returns:
        The folder.
    Raises:
        InputError: the name is none or is taken, or the folder exists.
        CosmosError: it cannot be written; DiskFull: there is no room.
    """
    _check(name)
    folder = folder or Path(f"cosmos-{name}")
    if folder.exists() or folder.is_symlink():
        raise InputError("exists already.", where=str(folder), fix="Move it, or name another by --folder.")
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_remains(folder.parent)
        beside = folder.with_name(new_name(_UNFINISHED, ""))
        beside.mkdir()
    try:
        with interrupts.at_leave(lambda: shutil.rmtree(beside, ignore_errors=True)), writing(folder, beside):
            _copy(Path(cosmos_cli.__file__).parent / "plugin_template", beside / "package", name)
            (beside / "package").rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _remove_remains(folder: Path) -> None:
    """Remove what was begun in a folder by processes that no longer run."""
    for found in folder.glob(f"{_UNFINISHED}*"):
        if has_lost_its_maker(found.name):
            shutil.rmtree(found, ignore_errors=True)


def _check(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _MOST_LETTERS or keyword.iskeyword(name):
        raise InputError(
            f"{name!r} is no name for a family.",
            where="NAME",
            fix="Take lower-case letters and digits, words joined by hyphens, such as night-rain.",
        )
    found = registry.current()
    holders = {plugin.name: plugin.label for plugin in found.plugins}
    holders |= {family: f"plugin {of.plugin}" for family, of in found.families.items()}
    # the package cosmos-NAME would also take the place of one of cosmos itself
    holders |= dict.fromkeys([*CORE_COMMANDS, *_OWN_PACKAGES], "cosmos itself")
    if name in holders:
        raise InputError(f"{name!r} is taken by {holders[name]}.", where="NAME", fix="Choose another name.")


def _copy(source: Path, target: Path, name: str) -> None:
    if source.is_dir():
        target.mkdir()
        for part in source.iterdir():
            if not part.name.startswith("__pycache__"):
                _copy(part, target / _renamed(part.name, name), name)
        return
    with suppress(UnicodeDecodeError):  # what else tools may have left there
        target.write_text(_renamed(source.read_text(encoding="utf-8"), name), encoding="utf-8")


def _renamed(text: str, name: str) -> str:
    """A text of the template as that of a family of this name."""
    identifier = name.replace("-", "_")
    title = "".join(word.capitalize() for word in name.split("-"))
    for old, new in (
        (f"_{TEMPLATE}", f"_{identifier}"),
        (f"{TEMPLATE}_", f"{identifier}_"),
        (TEMPLATE.capitalize(), title),
        (TEMPLATE, name),
    ):
        text = text.replace(old, new)
    return text
