"""Copies of what lies elsewhere: used as long as nothing has changed there, and removed when they get too many."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from cosmos_cli.errors import CosmosError, DiskFull
from cosmos_cli.files.failures import no_room, writing
from cosmos_cli.files.makers import has_lost_its_maker, new_name

_LIMIT_BYTES = 64 << 30
_SUFFIX_BYTES = 16
_SMALL_BYTES, _ALL_SMALL_BYTES = 16 << 20, 256 << 20
"""Files of so many bytes at most are read once as long as they stay the same: sidecars of a batch, parts of its ledger.

Together they take no more than the second in memory.
"""


def folder_in(caches: Path) -> Path:
    """Where copies lie among what else is kept."""
    return caches.expanduser().absolute() / "stores"


class Copies:
    """A folder of copies. Several processes may use it at once."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._has_cleared = False
        self._last: dict[str, Path] = {}
        self._room_bytes, self._making_room = 0, threading.Lock()

    @property
    def folder(self) -> Path:
        """Where they lie: with what else is kept, unless a user has it elsewhere."""
        if self._folder is None:
            from platformdirs import user_cache_path

            given = os.environ.get("COSMOS_CACHE_DIR")
            self.folder = folder_in(Path(given) if given else user_cache_path("cosmos-cli", appauthor=False))
        assert self._folder is not None
        return self._folder

    @folder.setter
    def folder(self, folder: Path) -> None:
        self._folder, self._has_cleared, self._room_bytes, self._last = folder, False, 0, {}

    def get(self, address: str, version: str, suffix: str, num_bytes: int, fetch: Callable[[Path], object]) -> Path:
        """The copy of something; made, if it is not there.

        Args:
            suffix: of its name, by which readers know formats; none of them is longer than a few characters.
            num_bytes: its size.
            fetch: writes it to a path.
        Raises:
            DiskFull: there is no room.
            CosmosError: it came in another size; the system does not let it be written.
        """
        suffix = suffix if len(os.fsencode(suffix)) <= _SUFFIX_BYTES else ""
        identity = f"{address} {version}".encode(errors="surrogatepass")
        name = f"{hashlib.sha256(identity).hexdigest()[:40]}{suffix}"
        copy = self._cleared() / name
        with self._locks[name]:
            with contextlib.suppress(OSError):
                if copy.stat().st_size == num_bytes:
                    os.utime(copy)  # it counts as just used
                    self._last[address] = copy
                    return copy
            part = copy.with_name(new_name(".", suffix))
            self._make_room(num_bytes, address)
            try:
                self._fetch(fetch, part, copy, num_bytes, address)
            except DiskFull:  # others have taken of the disk since it was looked at
                self._room_bytes = 0
                self._make_room(num_bytes, address)
                self._fetch(fetch, part, copy, num_bytes, address)
        self._last[address] = copy
        return copy

    @staticmethod
    def _fetch(fetch: Callable[[Path], object], part: Path, copy: Path, num_bytes: int, address: str) -> None:
        try:
            with writing(copy, part):
                fetch(part)
                if (got := part.stat().st_size) != num_bytes:
                    what = f"came with {got:,} bytes instead of {num_bytes:,}."
                    raise CosmosError(what, where=address, fix="Try again.")
                part.replace(copy)
        finally:
            part.unlink(missing_ok=True)

    def last(self, address: str) -> Path | None:
        """The copy that this process has last used of something, if it is still there; asks nobody."""
        copy = self._last.get(address)
        return copy if copy is not None and copy.is_file() else None

    def outgoing(self) -> Path:
        """A folder for what is made here to be put elsewhere, under names of `new_name`."""
        folder = self._cleared() / "outgoing"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _cleared(self) -> Path:
        """The folder, without what processes have left that died."""
        with writing(self.folder / "copies"):
            self.folder.mkdir(parents=True, exist_ok=True)
        if not self._has_cleared:
            for found in (*self.folder.glob(".*"), *self.folder.glob("outgoing/.*")):
                if has_lost_its_maker(found.name):
                    found.unlink(missing_ok=True)
            self._has_cleared = True
        return self.folder

    def _make_room(self, num_bytes: int, address: str) -> None:
        """Remove the copies that were not used for the longest, until another has room beside the rest.

        Looks at all of them only where what it saw the last time leaves no room for sure. Raises DiskFull: there is no
        room without them all either.
        """
        with self._making_room, writing(self.folder / "copies"):
            if num_bytes > self._room_bytes:
                self._room_bytes = self._room_beside_others(num_bytes, address)
            self._room_bytes = max(self._room_bytes - num_bytes, 0)

    def _room_beside_others(self, num_bytes: int, address: str) -> int:
        found = []
        for copy in self.folder.iterdir():
            with contextlib.suppress(OSError):
                if copy.is_file() and not copy.name.startswith("."):
                    status = copy.stat()
                    found.append((status.st_mtime, status.st_size, copy))
        total = sum(size for _, size, _ in found)
        free = shutil.disk_usage(self.folder).free
        if num_bytes > free + total:
            fix = "Make room there, or choose a folder on another disk with --cache-dir."
            raise no_room(self.folder, num_bytes, f"a copy of {address}", fix=fix)
        most = min(_LIMIT_BYTES, (free + total) // 2)
        spare = most // 16  # other processes make copies, too, and others take of the disk
        for _, size, copy in sorted(found):
            if total + num_bytes <= most - spare:
                break
            copy.unlink(missing_ok=True)
            total -= size
        return min(most - total, num_bytes + spare)


class SmallCopies:
    """Contents of small files in memory, by address and version; those that came first go first."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}
        self._num_bytes, self._lock = 0, threading.Lock()

    def keep(self, key: str, content: bytes) -> None:
        with self._lock:
            if len(content) > _SMALL_BYTES or key in self.known:
                return
            self.known[key] = content
            self._num_bytes += len(content)
            while self._num_bytes > _ALL_SMALL_BYTES:
                self._num_bytes -= len(self.known.pop(next(iter(self.known))))
