"""Import strings of plugins, `package.module:attribute`: resolved when used, and blamed by name when they fail."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
import traceback
from typing import Any

from cosmos_cli.errors import CosmosError, InputError

_IMPORT_STRING = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def resolve(import_string: str, *, needed_by: str, is_given: bool = False) -> Any:
    """The attribute that "package.module:attribute" names.

    Args:
        is_given: by the user, whose input it is; else by a plugin.
    Raises:
        CosmosError: the module cannot be imported or lacks the attribute; an InputError if it was given.
    """
    module, _, attribute = import_string.partition(":")
    try:
        with stdout_kept_clean():
            return getattr(importlib.import_module(module), attribute)
    except (KeyboardInterrupt, CosmosError):
        raise
    except BaseException as error:
        place = _place_in(module, error)
        if is_given:
            kind: type[CosmosError] = InputError
            named = "Name package.module:attribute, in what is installed here or lies in a folder of PYTHONPATH."
            fix = f"The error is in {place}." if place else named
        else:
            kind = CosmosError
            mend = f"The error is in {place}. Mend it" if place else "Reinstall"
            fix = f"{mend}, or uninstall the plugin; `cosmos plugins info` shows where it comes from."
        raise kind(f"{import_string} cannot be loaded: {one_line(error)}.", where=needed_by, fix=fix) from error


def check_import_string(text: str) -> None:
    """Raises ValueError: it is none."""
    if not _IMPORT_STRING.fullmatch(text):
        raise ValueError(f"{text!r} is not an import string such as 'package.module:attribute'")


def stdout_kept_clean() -> contextlib.AbstractContextManager[object]:
    """A block in which libraries may greet: stdout is for results that programs read."""
    return contextlib.redirect_stdout(sys.stderr)


def one_line(error: BaseException) -> str:
    """What was raised: messages of extension modules and of pluggy run over many lines, a fault is one of a table."""
    try:
        text = str(error)
    except Exception:
        text = "says nothing that can be read"
    if isinstance(error, SyntaxError) and error.filename:
        # by itself it gives the last part of the path alone, and every package has an __init__.py
        text = f"{error.msg} ({error.filename}, line {error.lineno}: {(error.text or '').strip()}"
        text = text.rstrip(": ") + ")"
    return f"{type(error).__name__}: {' '.join(text.split())}".rstrip(".: ")


def _place_in(module: str, error: BaseException) -> str:
    """File and line where the package of a module raised; nothing where it is not its code that did."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    package = module.partition(".")[0]
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package and frame.f_globals is not globals()
    ]
    return f"{frames[-1][0]}, line {frames[-1][1]}" if frames else ""
