"""What the system says when a file cannot be written, in words of ours."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from cosmos_cli.errors import CosmosError, DiskFull

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What systems say where no more can be written."""


@contextlib.contextmanager
def writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """A block that writes `path`, whose failures of the system are told as such.

    Args:
        temporary: where its content lies meanwhile, to tell how much there was.
    Raises:
        DiskFull: there is no room.
        CosmosError: the system does not let it be written.
    """
    try:
        yield
    except CosmosError:
        raise
    except Exception as error:
        number = error_number(error)
        if number in FULL:
            raise disk_full(path, temporary) from error
        if isinstance(error, OSError) and number is not None and _is_about(error, path.parent):
            raise CosmosError(
                f"cannot be written: {os.strerror(number)}.", where=str(path), fix="Choose a folder that you can write."
            ) from error
        raise


def _is_about(error: OSError, folder: Path) -> bool:
    """Whether it is this folder that the system refused, and no file that was read meanwhile."""
    if error.filename is None:
        return True
    named, folder = Path(os.fsdecode(error.filename)).absolute(), folder.absolute()
    return named.is_relative_to(folder) or folder.is_relative_to(named)


def error_number(error: BaseException | None) -> int | None:
    """The system's number of an error; libraries that are no Python tell it in words only."""
    while error is not None:
        number = getattr(error, "errno", None)
        if isinstance(number, int) and number > 0:
            return number
        for full in FULL:
            if os.strerror(full).lower() in str(error).lower():
                return full
        # what a writer says of it, such as torch.save's, comes after the system's own error
        error = error.__cause__ or error.__context__
    return None


def disk_full(path: Path, temporary: Path | None = None) -> DiskFull:
    """The error that `path` found no room; says how much it had taken and how much there is."""
    taken, place = 0, temporary or path
    with contextlib.suppress(OSError):
        taken = place.stat().st_size
    # what is for a store lies here until it is whole
    disk, free = "the disk" if place.parent == path.parent else f"the disk of {place.parent}", _free(place.parent)
    return DiskFull(
        f"did not fit on {disk}: it had {taken:,} bytes and was not whole; {free:,} bytes are free there.",
        where=str(path),
        fix="Make room there, or choose a folder on another disk. What was finished before is kept.",
    )


def no_room(folder: Path, num_bytes: int, wanted_for: str, *, fix: str) -> DiskFull:
    """The error that so many bytes have no room on the disk of a folder, before any was written."""
    return DiskFull(
        f"needs {num_bytes:,} bytes for {wanted_for}, but its disk has {_free(folder):,} free.",
        where=str(folder),
        fix=fix,
    )


def _free(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free
    return 0
