"""Files in an object store, such as `s3://bucket/clips/street.mp4`, as paths; the packages of fsspec speak to stores.

What is read is first copied into a folder here, and what is written is made here first. A store knows no folders, no
links and no locks, and an object appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import functools
import hashlib
import io
import os
import re
import stat as modes
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from cosmos_cli.files.copies import Copies, SmallCopies
from cosmos_cli.files.store_service import PACKAGES, asking, patiently, time_of, version_of

_ADDRESS = re.compile(rf"({'|'.join(PACKAGES)}):(/|$)")
"""How an address begins as a path, which has no two slashes in a row."""


class StorePath(type(Path())):  # type: ignore[misc]
    """A path of a store. What paths do here with files, it does there; see `stored`.

    Raises, wherever it asks the store: OSError as for files; CosmosError: the store cannot be asked.
    """

    def __str__(self) -> str:
        if not is_address(first := "/".join(self.parts[:1])):  # what pathlib makes of a part of one meanwhile
            return "/".join(self.parts) or "."
        return f"{first}//{'/'.join(self.parts[1:])}"

    def __fspath__(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> Any:
        return type(self), (str(self),)

    def __truediv__(self, other: Any) -> Any:
        given = Path(other)
        if given.is_absolute():
            return given
        return stored(given) if is_address(given) else type(self)(self, given)

    def joinpath(self, *others: Any) -> Any:
        return functools.reduce(lambda path, other: path / other, others, self)

    def __rtruediv__(self, other: Any) -> Any:
        return self

    def is_absolute(self) -> bool:
        return True

    def absolute(self) -> StorePath:
        return self

    def resolve(self, strict: bool = False) -> StorePath:
        return self

    def expanduser(self) -> StorePath:
        return self

    def is_relative_to(self, *other: Any) -> bool:
        parts = Path(*other).parts
        return bool(parts) and self.parts[: len(parts)] == parts

    def relative_to(self, *other: Any, **_: Any) -> Path:
        if not self.is_relative_to(*other):
            raise ValueError(f"{str(self)!r} does not lie in {str(Path(*other))!r}")
        return Path(*self.parts[len(Path(*other).parts) :])

    # What is there

    def facts(self) -> Mapping[str, Any] | None:
        """What the store says of an object, or of what stands for a folder; None if there is none."""
        key = str(self)
        seen = _seen.get()
        if seen is not None and key not in seen.changed and (key in seen.facts or seen.knows(key)):
            return seen.facts.get(key) or ({"type": "directory"} if seen.names.get(f"{key}/") else None)
        found: Mapping[str, Any] | None
        with asking(str(self)) as files:
            try:
                found = files.info(key)
            except (FileNotFoundError, NotADirectoryError):
                found = None
        if seen is not None:
            seen.facts[key] = found
        return found

    def exists(self, **_: Any) -> bool:
        return len(self.parts) <= 2 or self.facts() is not None

    def is_file(self, **_: Any) -> bool:
        facts = self.facts()
        return facts is not None and facts["type"] == "file"

    def is_dir(self, **_: Any) -> bool:
        if len(self.parts) <= 2:
            return True
        facts = self.facts()
        return facts is not None and facts["type"] == "directory"

    def is_symlink(self) -> bool:
        return False

    def stat(self, **_: Any) -> Any:
        """Size and time as for a file; what tells versions of an object apart stands for its number."""
        facts = self.facts()
        if facts is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        when = time_of(facts)
        mode = modes.S_IFDIR if facts["type"] == "directory" else modes.S_IFREG
        number = int.from_bytes(hashlib.sha256(version_of(facts).encode()).digest()[:7], "big")
        return SimpleNamespace(
            st_size=int(facts.get("size") or 0),
            st_mtime=when,
            st_mtime_ns=int(when * 1e9),
            st_ino=number,
            st_dev=0,
            st_mode=mode | 0o644,
        )

    lstat = stat

    def iterdir(self) -> Iterator[StorePath]:
        with asking(str(self)) as files:
            found = files.ls(str(self), detail=True)
        own = self._key()
        for name in sorted(each["name"].strip("/") for each in found):
            if name != own:
                yield self / name.rpartition("/")[2]

    def glob(self, pattern: str, **_: Any) -> Iterator[StorePath]:
        """Of names directly in this folder."""
        seen = _seen.get()
        if seen is not None and seen.knows(f"{self}/"):
            under = f"{self}/"
            changed = {key[len(under) :].partition("/")[0] for key in seen.changed if key.startswith(under)}
            names = {name for name in changed if (self / name).exists()} | (seen.names[under] - changed)
        else:
            try:
                names = {path.name for path in self.iterdir()}
            except FileNotFoundError:
                return
        yield from (self / name for name in sorted(fnmatch.filter(names, pattern)))

    # What is read

    def here(self) -> Path:
        """A file here with the content of the object. Raises OSError: there is none."""
        facts = self.facts()
        if facts is None or facts["type"] != "file":
            number = errno.ENOENT if facts is None else errno.EISDIR
            raise OSError(number, os.strerror(number), str(self))

        def fetch(target: Path) -> None:
            with asking(str(self)) as files:
                files.get_file(str(self), str(target))

        return _copies.get(str(self), version_of(facts), self.suffix, int(facts.get("size") or 0), fetch)

    def open(self, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> IO[Any]:
        """To read alone; see `put` and `write_bytes`."""
        if set(mode) & set("wax+"):
            raise io.UnsupportedOperation(f"{self} is written as a whole")
        return self.here().open(mode, buffering, *args, **options)

    def read_bytes(self, limit: int | None = None) -> bytes:
        """The content, or its beginning up to so many bytes; leaves no copy on the disk."""
        facts = self.facts()
        if facts is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        num_bytes = min(int(facts.get("size") or 0), sys.maxsize if limit is None else limit)
        if not num_bytes:
            return b""
        known = _small.known.get(key := f"{self} {version_of(facts)}")
        if known is not None:
            return known[:num_bytes]
        with asking(str(self)) as files:
            content: bytes = files.cat_file(str(self), start=0, end=num_bytes)
        if num_bytes == facts.get("size"):
            _small.keep(key, content)
        return content

    # What is written

    def put(self, source: Path) -> None:
        """Write a file's content."""

        def write() -> None:
            with _changing(self) as files:
                files.put_file(str(source), str(self))

        patiently(write)

    def write_bytes(self, data: Any) -> int:
        with _changing(self) as files:
            files.pipe_file(str(self), bytes(data))
        return len(data)

    def unlink(self, missing_ok: bool = False) -> None:
        with _changing(self) as files:
            try:
                files.rm_file(str(self))
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def replace(self, target: Any) -> Any:
        """Within a store: first the object is there under both names."""

        def move() -> None:
            with _changing(self, target) as files:
                files.cp_file(str(self), str(target))
                files.rm_file(str(self))

        patiently(move)
        return target

    def mkdir(self, *_: Any, **__: Any) -> None:
        """Nothing: folders are parts of names."""

    rmdir = mkdir

    def _key(self) -> str:
        return "/".join(self.parts[1:])


def is_address(path: str | Path) -> bool:
    """Whether a path is an address of a store that is known here."""
    return isinstance(path, StorePath) or _ADDRESS.match(str(path)) is not None


def stored(path: Path) -> Path:
    """The path, as one of a store if it is an address.

    Raises:
        ValueError: the address names no bucket, or climbs.
    """
    if isinstance(path, StorePath) or not is_address(path):
        return path
    found = StorePath(str(path).replace("://", ":/", 1))
    if len(found.parts) < 2 or ".." in found.parts:
        raise ValueError(f"must be an address such as s3://bucket/folder, but is {str(found)!r}.")
    return found


def check_is_here(path: Path) -> Path:
    """The path. Raises ValueError: it is an address, for what can only lie on a disk of this machine."""
    if is_address(path):
        raise ValueError(f"must be a path on this machine, but {str(path).replace(':/', '://', 1)!r} lies in a store.")
    return path


def here(path: Path) -> Path:
    """A file here with the content of `path`, for readers that know no other. Raises OSError: as `StorePath.here`."""
    return path.here() if isinstance(path, StorePath) else path


def copy_of(path: StorePath) -> Path | None:
    """What this process has last read of an object, if it still has it; asks nobody whether it has changed."""
    return _copies.last(str(path))


def beginning(path: Path, num_bytes: int) -> bytes:
    """The first bytes of a file, wherever it is. Raises OSError: there is none."""
    if isinstance(path, StorePath):
        return path.read_bytes(num_bytes)
    with path.open("rb") as file:
        return file.read(num_bytes)


def facts_of(paths: Iterable[StorePath]) -> dict[StorePath, Mapping[str, Any]]:
    """What stores say of those objects that are there; of names that differ in their ends alone they are asked once.

    Raises:
        CosmosError: a store cannot be asked.
    """
    alike: defaultdict[tuple[StorePath, str], list[StorePath]] = defaultdict(list)
    for path in paths:
        alike[path.parent, path.stem].append(path)
    seen, told = _seen.get(), dict[StorePath, Mapping[str, Any]]()
    for (folder, stem), each in alike.items():
        if seen is not None and seen.knows(f"{folder}/"):
            found = {path.name: facts for path in each if (facts := path.facts()) is not None}
        else:
            found = _listed(folder, f"{stem}." if len(each) > 1 else each[0].name)
        told |= {path: found[path.name] for path in each if path.name in found}
    return told


def _listed(folder: StorePath, start: str = "") -> dict[str, Mapping[str, Any]]:
    """What a store says of all objects below a folder, by their names from there, which begin so."""
    with asking(str(folder)) as files:
        found = files.find(str(folder), detail=True, **({"prefix": start} if start else {}))
        own = files._strip_protocol(str(folder)).strip("/")
    # adlfs gives a list where the folder is an object itself, and nothing below it
    pairs = found.items() if isinstance(found, dict) else ()
    return {name.strip("/").removeprefix(own).strip("/"): facts for name, facts in pairs}


def keep_copies_in(folder: Path) -> None:
    """Let copies of what is read, and what is written until it is whole, lie in a folder from now on."""
    _copies.folder = folder


def copies_folder() -> Path:
    """Where they lie."""
    return _copies.folder


def outgoing(name: str) -> Path:
    """Where a file may lie here until it is put into a store, in a folder that exists."""
    return _copies.outgoing() / name


class _Seen:
    """What stores have said in a `looking` block."""

    def __init__(self) -> None:
        self.facts: dict[str, Mapping[str, Any] | None] = {}
        self.names: defaultdict[str, set[str]] = defaultdict(set)
        """Folder, with a slash at its end, to the names in it; of all that were listed."""
        self.changed: set[str] = set()
        self._listed: list[str] = []

    def knows(self, key: str) -> bool:
        """Whether all that there is under this name was listed."""
        return any(key.startswith(folder) for folder in self._listed)

    def list_below(self, folder: StorePath) -> None:
        for below, facts in _listed(folder).items():
            self.facts[f"{folder}/{below}".rstrip("/")] = facts
            under = f"{folder}/"
            for part in below.split("/"):
                self.names[under].add(part)
                under += f"{part}/"
        self._listed.append(f"{folder}/")


_small = SmallCopies()
_seen: ContextVar[_Seen | None] = ContextVar("seen", default=None)
_copies = Copies()


@contextlib.contextmanager
def looking(folders: Iterable[Path] = ()) -> Iterator[None]:
    """A block that asks stores once for each thing; what others change meanwhile, it does not see.

    Args:
        folders: all that is in these, and below, is listed at once.
    """
    seen = _seen.get() or _Seen()
    token = _seen.set(seen)
    try:
        for folder in folders:
            if isinstance(folder, StorePath) and not seen.knows(f"{folder}/"):
                seen.list_below(folder)
        yield
    finally:
        _seen.reset(token)


@contextlib.contextmanager
def _changing(*paths: StorePath) -> Iterator[Any]:
    """As `asking`, of the first; what was seen of them does not hold from here on."""
    if (seen := _seen.get()) is not None:
        seen.changed.update(map(str, paths))
    with asking(str(paths[0])) as files:
        yield files
