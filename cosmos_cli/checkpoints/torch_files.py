"""Reading torch.save files without running anything that is in them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any, BinaryIO

import torch

from cosmos_cli.checkpoints.file_formats import DOWNLOAD_AGAIN
from cosmos_cli.checkpoints.pickles import check_pickles
from cosmos_cli.checkpoints.stand_ins import Record, refuse_object
from cosmos_cli.errors import CheckpointError
from cosmos_cli.runtime.memory.host import raise_if_too_little

_HARMLESS: list[Any] = [
    # Transformer Engine stores its bookkeeping (`_extra_state`) as a buffer of bytes, which can do no harm
    io.BytesIO,
    # Counters of a training are often NumPy's. Nobody asks for them, and NumPy itself trusts what a pickle says of a
    # type, pointers included: so a record of what was said stands in for each.
    *(
        (Record, name)
        for name in (
            "numpy.dtype",
            "numpy.ndarray",
            *(f"numpy.{core}.multiarray.{what}" for core in ("core", "_core") for what in ("scalar", "_reconstruct")),
        )
    ),
]


def load_without_code(source: Path | BinaryIO, path: Path, *, mmap: bool = False) -> Any:
    """torch.load for untrusted files: only tensors, plain containers and inert records come out, nothing is executed.

    Args:
        source: what to read; a path if `mmap`.
        path: the file to name in errors.
        mmap: leave the tensors on disk until they are used (zip format with stored members only).
    Raises:
        CheckpointError: the file is damaged, or holds Python objects.
    """
    try:
        with source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source) as file:
            check_pickles(file)
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # a parser over untrusted bytes can trip in any way; all mean that the file is bad
        raise_if_too_little(error, path)
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    message = str(error)
    forbidden = re.search(r"GLOBAL (\S+)", message)
    if forbidden:
        return refuse_object(path, forbidden.group(1))
    # torch surrounds the cause with advice to switch the protection off
    cause = message.rpartition("WeightsUnpickler error:")[2].partition("Check the documentation")[0].strip()
    first_line = cause.partition("\n")[0].strip()[:200] or type(error).__name__
    return CheckpointError(
        f"{path.name} is truncated or damaged, or torch.save did not write it ({first_line}).",
        where=str(path),
        fix=DOWNLOAD_AGAIN,
    )
