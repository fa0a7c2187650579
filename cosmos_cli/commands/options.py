"""Options that several core commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cosmos_cli.configuration import default_of
from cosmos_cli.files.paths import given_path
from cosmos_cli.files.stores import check_is_here
from cosmos_cli.help import panel_of


def as_meant(value: Any) -> Any:
    """The path that an option means, of this machine; None if it was not given."""
    if value is None:
        return None
    try:
        return check_is_here(given_path(value))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


_VARIABLE = "COSMOS_CHECKPOINT_DIR"


def _or_configured(context: typer.Context, param: typer.CallbackParam, value: Path) -> Path:
    """The folder that was given, in an option or a variable, else that of the project's or the user's file."""
    source = context.get_parameter_source(param.name or "")
    default = default_of(_VARIABLE) if source is not None and source.name == "DEFAULT" else None
    return as_meant(value if default is None else Path(default.value))


def _checkpoint_dir(*old_names: str) -> Any:
    return typer.Option(
        "--checkpoint-dir",
        *old_names,
        rich_help_panel=panel_of("checkpoint_dir", old_names=old_names),
        metavar="PATH",
        envvar=_VARIABLE,
        callback=_or_configured,
        help="Folder of checkpoints in the original layout.",
    )


CheckpointDir = Annotated[Path, _checkpoint_dir()]
"""Annotation of a command's `checkpoint_dir` parameter."""

DownloadDir = Annotated[Path, _checkpoint_dir("--output-dir")]
"""The same, where files are fetched, with the name that it has in the originals' scripts."""
