"""What to say where published files are missing: which, how large, where else they may be, and how to get them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from cosmos_cli.checkpoints.catalogue import (
    GUARDRAILS,
    T5_BFLOAT16,
    TEXT_ENCODER,
    PublishedFile,
    Repository,
    download_command,
)
from cosmos_cli.checkpoints.hub_cache import IN_CACHE, cached_bytes
from cosmos_cli.errors import CheckpointError, Problem

Command = Callable[[Sequence[Repository], Sequence[str], Path], str]
"""From what is needed, names of all that is missing of it, and the checkpoint folder, to a command line."""

_MAX_FOLDERS = 50
"""In a checkpoint folder, that are looked at for being the right one."""


def by_names(_: Sequence[Repository], names: Sequence[str], root: Path) -> str:
    """The command line that fetches files by their names."""
    return download_command(names, root)


def require(repositories: Iterable[Repository], root: Path, command: Command = by_names) -> None:
    """Make sure that all files are there. Nothing is opened.

    Args:
        command: what fetches that which is missing.
    Raises:
        CheckpointError: for each folder what is missing, how large it is, where it lies instead if that is near, and
            the one command that fetches all.
    """
    needed = list(dict.fromkeys(repositories))
    if not _missing(needed, root):
        return
    problems = []
    if (near := _one_level_off(needed, root)) is not None:
        where = "above it" if near.absolute() in root.absolute().parents else "beside it"
        where = "in it" if root.absolute() in near.absolute().parents else where
        problems.append(Problem(f"the checkpoint folder is {near}, {where}.", str(root), f"--checkpoint-dir {near}"))
        root = near
    lacking: dict[Path, list[Repository]] = {}
    for repository in needed:
        if repository.missing(root):
            lacking.setdefault(repository.folder(root), []).append(repository)
    told = [_problem(folder, together, root) for folder, together in lacking.items()]
    if told:
        names = [name for together in lacking.values() for name in _names(needed, together, root)]
        fetch = command(needed, names, root)
        if len(told) == 1:
            told = [Problem(told[0].what, told[0].where, fetch)]
        else:
            size = sum(file.num_bytes for repository in needed for file in repository.missing(root)) / 1e9
            told.append(Problem(f"{size:.1f} GB in all; one command fetches it.", None, fetch))
    raise CheckpointError.from_problems([*problems, *told, *_misplaced(lacking, root)])


def _problem(folder: Path, together: Sequence[Repository], root: Path) -> Problem:
    missing = [(repository, file) for repository in together for file in repository.missing(root)]
    size = sum(file.num_bytes for _, file in missing) / 1e9
    licences = ", ".join(dict.fromkeys(repository.licence for repository in together))
    cached = sum(cached_bytes(repository, [file]) for repository, file in missing)
    there = f"; {cached / 1e9:.1f} GB are {IN_CACHE}, and are not fetched again" if cached else ""
    names = ", ".join(file.path for _, file in missing)
    return Problem(f"{names} missing ({size:.1f} GB, {licences}){there}.", str(folder))


def _names(needed: Sequence[Repository], together: Sequence[Repository], root: Path) -> Iterator[str]:
    """What `cosmos download` calls the missing files of one folder."""
    for repository in together:
        # of these nobody needs less, so their name is enough; but that of T5 means the smaller form of its weights
        is_whole = repository in GUARDRAILS or (repository in TEXT_ENCODER and T5_BFLOAT16 in needed)
        # and what is read if there, such as a chat template, comes with the name alone: named itself it is required
        if is_whole or any(file.is_read_if_there for file in repository.files):
            yield repository.belongs_to or repository.name
        else:
            yield from (f"{repository.name}/{file.path}" for file in repository.missing(root))


def _missing(repositories: Iterable[Repository], root: Path) -> list[tuple[Repository, PublishedFile]]:
    return [(repository, file) for repository in repositories for file in repository.missing(root)]


def _one_level_off(needed: Sequence[Repository], root: Path) -> Path | None:
    """The folder above a checkpoint folder, beside it or in it that holds more of what is needed, if one does."""
    here = root.absolute()
    above = [here.parent, here.parent.parent, here.parent.parent / here.name]
    inside: list[Path] = []
    with contextlib.suppress(OSError):  # it is not there, or not to be read
        inside = sorted(path for path in here.iterdir() if path.is_dir())[:_MAX_FOLDERS]
    counts = {place: len(_missing(needed, place)) for place in (*above, *inside)}
    best = min(counts, key=counts.__getitem__)
    if counts[best] >= len(_missing(needed, root)):
        return None
    return best if root.is_absolute() else Path(os.path.relpath(best))


def _misplaced(lacking: Iterable[Path], root: Path) -> Iterator[Problem]:
    """Folders that lie without the name of the organisation in front."""
    for folder in lacking:
        bare = root / folder.name
        if bare != folder and bare.is_dir() and not folder.exists():
            yield Problem(f"holds what belongs into {folder}.", str(bare), f"Move it there: mv {bare} {folder}")
