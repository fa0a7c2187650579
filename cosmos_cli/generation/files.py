"""The files that a run reads, with their sizes and licences, whether or not they are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cosmos_cli.checkpoints.catalogue import GUARDRAILS, Repository, with_text_encoder
from cosmos_cli.checkpoints.hub_cache import IN_CACHE, is_cached
from cosmos_cli.generation.settings import GenerationSettings


@dataclass(frozen=True)
class NeededFile:
    """One file, or a folder, that a run reads.

    num_bytes: 0 where it is missing and nobody knows.
    is_cached: whether it is missing, and `cosmos download` takes it from the Hub's cache.
    """

    path: Path
    num_bytes: int
    is_present: bool
    licence: str
    is_cached: bool = False

    @property
    def state(self) -> str:
        """Empty where it is there."""
        return "" if self.is_present else IN_CACHE if self.is_cached else "missing"


def needed_files(repositories: Iterable[Repository], root: Path) -> list[NeededFile]:
    """Published files under the checkpoint folder, with the size that they have there or should have."""
    found = []
    for repository in dict.fromkeys(repositories):
        folder = repository.folder(root)
        if other := repository.form_in(root):
            found.append(own_file(other, repository.licence))
            continue
        for file in repository.files:
            there = file.bytes_in(folder)
            if there is None and file.is_optional:
                continue
            size = file.num_bytes if there is None else there
            cached = there is None and is_cached(repository, file)
            found.append(NeededFile(folder / file.path, size, there is not None, repository.licence, cached))
    return found


def files_of(
    settings: GenerationSettings,
    *,
    own: Iterable[Path | None],
    shipped: Iterable[Path],
    needed: Callable[[], Iterable[Repository]],
) -> list[NeededFile]:
    """All files that a run reads.

    Args:
        own: those that the user brings.
        shipped: the others, of the tiny model.
        needed: tells what is published of them, guardrails apart; not asked for the tiny model.
    """
    files = [own_file(path, "your own") for path in own if path is not None]
    if settings.is_tiny:
        return [*files, *(own_file(path, "Apache-2.0, ships with cosmos") for path in dict.fromkeys(shipped))]
    guardrails = GUARDRAILS if settings.is_guarded else ()
    published = with_text_encoder(settings.text_weights, [*needed(), *guardrails])
    return [*files, *needed_files(published, settings.checkpoint_dir)]


def own_file(path: Path, licence: str) -> NeededFile:
    """A file, or a folder with all that is in it, that no catalogue describes."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return NeededFile(path, sum(file.stat().st_size for file in files), path.exists(), licence)
