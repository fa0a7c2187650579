"""How stores are asked: the packages of fsspec that speak to them, what goes wrong in words, and patience."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from cosmos_cli import output
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.failures import FULL

PACKAGES: Mapping[str, tuple[str, str]] = {
    "s3": ("s3fs", "s3"),
    "gs": ("gcsfs", "gs"),
    "az": ("adlfs", "az"),
    "abfs": ("adlfs", "az"),
    "memory": ("fsspec", ""),
}
"""How an address may begin: to the package that knows such stores, and the extra that brings it.

`memory` is of one process alone.
"""

_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Before each of the times that a change is tried again."""


@contextlib.contextmanager
def asking(address: str) -> Iterator[Any]:
    """The file system of the store of an address; what goes wrong but OSErrors with a number is told as what it is."""
    scheme = address.partition(":")[0]
    files = _files_of(scheme, os.getpid(), address)
    try:
        yield files
    except (CosmosError, FileNotFoundError, IsADirectoryError, NotADirectoryError, KeyboardInterrupt):
        raise
    except PermissionError as error:
        fix = "Check your credentials, and what they allow."
        raise CosmosError(_told("does not let you in", error), where=address, fix=fix) from error
    except OSError as error:
        named_here = error.filename is not None and not str(error.filename).startswith(f"{scheme}:")
        if named_here or error.errno in FULL:
            raise  # of the disk here
        raise _unreachable(address, error) from error
    except Exception as error:  # each package has errors of its own
        raise _unreachable(address, error) from error


class Unreachable(CosmosError):
    """A store did not answer, or not so that it helps; it may do so later."""


def patiently(change: Callable[[], object]) -> None:
    """Ask or change what long work depends on, again and again for a minute if the store does not answer.

    Raises:
        CosmosError: it did not do so.
    """
    for pause in _PAUSES_S:
        try:
            change()
            return
        except Unreachable as error:
            output.status(f"{error.problems[0].where} {error.problems[0].what} Trying again in {pause:g} s")
            time.sleep(pause)
    change()


def _unreachable(address: str, error: Exception) -> CosmosError:
    fix = "Check the address, the network, and your credentials for this store."
    return Unreachable(_told("cannot be reached", error), where=address, fix=fix)


def _told(what: str, error: Exception) -> str:
    reason = " ".join((error.strerror if isinstance(error, OSError) and error.strerror else str(error)).split())
    return f"{what}: {(reason or type(error).__name__).rstrip('.')}."


_lock = threading.Lock()


def _files_of(scheme: str, process: int, address: str) -> Any:
    with _lock:  # of two threads, one connects
        try:
            return _connected(scheme, process)
        except ImportError as error:
            package, extra = PACKAGES[scheme]
            raise InputError(
                f"needs the package {package}, which is not installed.",
                where=address,
                fix=f'Install it: pip install "cosmos-cli[{extra}]"',
            ) from error
        except Exception as error:
            raise _unreachable(address, error) from error


@functools.lru_cache(maxsize=8)
def _connected(scheme: str, _process: int) -> Any:
    """A process that was forked needs connections of its own."""
    import fsspec

    return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=scheme != "memory")


def version_of(facts: Mapping[str, Any]) -> str:
    """What is the same as long as an object is not written anew."""
    names = ("ETag", "etag", "md5Hash", "content_settings")
    mark = next((str(facts[name]) for name in names if facts.get(name)), "")
    return f"{mark} {facts.get('size')} {'' if mark else time_of(facts)}"


def time_of(facts: Mapping[str, Any]) -> float:
    for name in ("LastModified", "mtime", "updated", "last_modified", "created"):
        when = facts.get(name)
        if isinstance(when, str):
            with contextlib.suppress(ValueError):
                when = datetime.fromisoformat(when.replace("Z", "+00:00"))
        if isinstance(when, datetime):
            return when.timestamp()
        if isinstance(when, int | float):
            return float(when)
    return 0.0
