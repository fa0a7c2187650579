"""What was computed once and can be computed again, kept on disk: nothing that befalls it changes a run or ends it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import time
from pathlib import Path

from cosmos_cli import output
from cosmos_cli.files.side_work import reason

_FORMAT = b"cosmos-cache 1\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
_NAME = re.compile(r"[0-9a-f]{64}(\.mkv|\.safetensors)?")
"""Names of entries; the suffixes are those of versions before this format."""
_PART = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{16}\.part")
_FORGOTTEN_S = 24 * 3600.0
"""Age at which what was never finished belongs to a process that no longer runs."""

_notes: dict[Path, str] = {}
"""The one note about each folder that cannot be used: what else fails in it is the same to a user."""


class Cache:
    """Entries of one kind. One that is damaged, cut short, stale, or of something else is as good as not there.

    Several processes may use it at once. Where the folder cannot be used, one note says so.

    Args:
        folder: of all kinds; "~" is the home folder.
        kind: the name of the folder in it.
        limit_bytes: those not used for the longest are removed beyond this; None keeps all.
    """

    def __init__(self, folder: Path, kind: str, *, limit_bytes: int | None) -> None:
        self._root, self._kind, self._limit_bytes = folder, kind, limit_bytes

    def get(self, identity: str) -> bytes | None:
        """What was kept for this identity: everything that the content depends on."""
        try:
            path = self._path(identity)
            content = _read(path, self._limit_bytes)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, ValueError) as error:
            self._tell(error)
            return None
        begin = len(_FORMAT) + _DIGEST_BYTES
        if content[:begin] != _FORMAT + _digest(identity, content[begin:]):
            return None
        with contextlib.suppress(OSError):  # not to be written: it counts as unused, and is what was asked for
            os.utime(path)
        return content[begin:]

    def put(self, identity: str, content: bytes) -> None:
        """Keep something, whole or not at all."""
        try:
            path = self._path(identity)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, (_FORMAT, _digest(identity, content), content))
            if self._limit_bytes is not None:
                _prune(path.parent, self._limit_bytes)
        except (OSError, RuntimeError, ValueError) as error:
            self._tell(error)

    def _path(self, identity: str) -> Path:
        name = hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()
        return self._root.expanduser() / self._kind / name

    def _tell(self, error: Exception) -> None:
        note = f"the cache folder {self._root} cannot be used: {reason(error)}; going on without it"
        output.notice(_notes.setdefault(self._root, note))


def _digest(identity: str, content: bytes) -> bytes:
    """Of the content, and of what it was made of, so that a renamed entry does not pass for another."""
    digest = hashlib.sha256(hashlib.sha256(identity.encode(errors="surrogatepass")).digest())
    digest.update(content)
    return digest.digest()


def _read(path: Path, limit_bytes: int | None) -> bytes:
    """A plain file; a link, a pipe, a device or something enormous in its place is as good as nothing."""
    try:
        # without waiting, which opening a pipe would do
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            return b""
        raise
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or (limit_bytes is not None and status.st_size > limit_bytes):
            return b""
        return file.read(status.st_size)


def _write(path: Path, parts: tuple[bytes, ...]) -> None:
    # a name that nobody knows before, created here or not at all: neither a link nor another thread is in the way
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _prune(folder: Path, limit_bytes: int) -> None:
    """Remove the entries that were not used for the longest until the rest fits, and what was never finished."""
    entries = []
    with os.scandir(folder) as found:
        for file in found:
            try:
                status = file.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # another process was faster
            if _NAME.fullmatch(file.name):
                entries.append((status.st_mtime, status.st_size, file.path))
            elif _PART.fullmatch(file.name) and time.time() - status.st_mtime > _FORGOTTEN_S:
                Path(file.path).unlink(missing_ok=True)
    total = 0
    for _, num_bytes, path in sorted(entries, reverse=True):
        total += num_bytes
        if total > limit_bytes:
            Path(path).unlink(missing_ok=True)
