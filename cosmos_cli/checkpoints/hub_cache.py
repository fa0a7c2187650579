"""What other tools have fetched into the cache of the Hub's client: found without asking anybody, used as it lies."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from cosmos_cli.checkpoints.catalogue import PublishedFile, Repository

IN_CACHE = "in the Hub's cache"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the Hub's client keeps what it fetches, by its own variables."""
    own = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    if own:
        return Path(own)
    home = environment.get("HF_HOME") or Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home) / "hub"


def snapshot(repository: Repository) -> Path | None:
    """The folder of a repository's files at its revision; None if the cache does not know it."""
    folder = _folder(repository)
    commit = repository.revision
    if not _COMMIT.fullmatch(commit):
        try:
            with (folder / "refs" / commit).open() as reference:
                commit = reference.read(41).strip()
        except (OSError, ValueError):
            return None
    place = folder / "snapshots" / commit
    return place if _COMMIT.fullmatch(commit) and os.access(place, os.R_OK | os.X_OK) else None


def cached_bytes(repository: Repository, files: Iterable[PublishedFile]) -> int:
    """How much of these files the cache has."""
    place = snapshot(repository)
    return 0 if place is None else sum(file.bytes_in(place) or 0 for file in files)


def is_cached(repository: Repository, file: PublishedFile) -> bool:
    """Whether the cache has a file, or something of a folder."""
    place = snapshot(repository)
    return place is not None and file.bytes_in(place) is not None


def blob(repository: Repository, digest: str, num_bytes: int) -> Path | None:
    """The cached content that is called by its hash; nobody has compared the two. None if there is none."""
    path = _folder(repository) / "blobs" / digest
    with contextlib.suppress(OSError):  # somebody else's cache
        if path.is_file() and path.stat().st_size == num_bytes and os.access(path, os.R_OK):
            return path
    return None


def contents(repository: Repository, file: PublishedFile) -> dict[str, tuple[str, int]]:
    """Path in the repository to hash and size of what the cache has of a file, or in a folder."""
    place = snapshot(repository)
    if place is None:
        return {}
    found = {}
    for path in (place / file.path).rglob("*") if file.is_folder else [place / file.path]:
        # where links do not work the cache has plain files, which nothing says the hash of
        if path.is_file() and path.is_symlink() and _DIGEST.fullmatch(name := path.resolve().name):
            found[path.relative_to(place).as_posix()] = (name, path.stat().st_size)
    return found


def _folder(repository: Repository) -> Path:
    folder = cache_folder()
    with contextlib.suppress(RuntimeError):  # there may be no home
        folder = folder.expanduser()
    return folder / f"{repository.kind}s--{repository.name.replace('/', '--')}"
