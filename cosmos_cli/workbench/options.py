"""What `cosmos workbench` is told at its start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cosmos_cli.help import INPUT, OPTIONS
from cosmos_cli.requests import Flag, StrictModel
from cosmos_cli.settings import ParallelSettings


class WorkbenchOptions(StrictModel):
    """What the page sees, where it writes, and where it is."""

    folder: Annotated[tuple[Path, ...], Flag(panel=INPUT, usual=True, default="the working folder")] = ()
    """Folder whose clips the page sees; several are given one by one."""
    output_dir: Annotated[Path, Flag(usual=True)] = Path("outputs/workbench")
    """Folder of all that is made."""
    port: Annotated[int, Field(ge=0, le=65535), Flag(panel=OPTIONS, usual=True)] = 8321
    """Port of 127.0.0.1; 0 is any that is free."""
    open: Annotated[bool, Flag(panel=OPTIONS, usual=True)] = False
    """Open the page in a browser."""


USED = {*WorkbenchOptions.model_fields, *ParallelSettings.model_fields} - {"num_gpus", "parallel"}
"""Fields that help shows: it computes on one device."""


def machine_of(settings: ParallelSettings) -> dict[str, Any]:
    """What the start says of the machine, by field: what differs from the defaults, and the checkpoint folder."""
    values = {name: value for name, value in settings if value != type(settings).model_fields[name].default}
    return {**values, "checkpoint_dir": settings.checkpoint_dir.absolute()}
