"""Parameters that commands of the core and of families share."""

from __future__ import annotations

from typing import Annotated

import typer

from cosmos_cli import output
from cosmos_cli.help import panel_of

JsonFlag = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON document on stdout.",
        callback=output.use_json,
        is_eager=True,
        rich_help_panel=panel_of("json"),
    ),
]
"""Annotation of a command's `json` parameter; the command itself need not look at it."""
