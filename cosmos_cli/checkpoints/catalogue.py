"""What can be downloaded, and what to say when it has not been."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cosmos_cli.errors import CheckpointError, Problem

DEFAULT_ROOT = Path("checkpoints")
"""The checkpoint folder if none is named."""


@dataclass(frozen=True)
class PublishedFile:
    """One file of a repository.

    path: inside the repository.
    num_bytes: size, or what follows from the parameter count where the repository's own figure is not known.
    """

    path: str
    num_bytes: int


@dataclass(frozen=True)
class Repository:
    """Files of one Hugging Face repository that belong together.

    name: "organisation/repository"; also the folder under the checkpoint folder, as in the original layout.
    revision: the commit that the originals pin.
    gated: whether Hugging Face asks every user to accept the licence first.
    used_by: control modalities that need it; empty if it is needed whatever the controls are.
    """

    name: str
    revision: str
    files: tuple[PublishedFile, ...]
    licence: str
    gated: bool = False
    used_by: tuple[str, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Size of all files together."""
        return sum(file.num_bytes for file in self.files)

    def missing(self, root: Path) -> list[PublishedFile]:
        """The files that are not under the checkpoint folder `root`."""
        return [file for file in self.files if not (root / self.name / file.path).is_file()]


T5_11B = Repository(
    "google-t5/t5-11b",
    "90f37703b3334dfe9d2b009bfcbfbf1ac9d28ea3",
    (
        PublishedFile("config.json", 1_200),
        PublishedFile("tokenizer.json", 1_390_000),
        PublishedFile("pytorch_model.bin", 45_200_000_000),
    ),
    "Apache-2.0",
)
"""The text encoder of every family."""

EVERY_RUN: tuple[Repository, ...] = ()
"""What every run that makes pictures opens, whatever its model."""


def require(repositories: Iterable[Repository], root: Path) -> None:
    """Make sure that all files are there. Nothing is opened.

    Raises:
        CheckpointError: for each repository what is missing, how large it is, and the command that fetches it.
    """
    problems = []
    for repository in repositories:
        missing = repository.missing(root)
        if missing:
            size = sum(file.num_bytes for file in missing) / 1e9
            names = ", ".join(file.path for file in missing)
            # of these nobody needs less, so their name is enough
            is_whole = repository in (T5_11B, *EVERY_RUN)
            paths = [repository.name] if is_whole else [f"{repository.name}/{file.path}" for file in missing]
            what = f"{names} missing ({size:.1f} GB, {repository.licence})."
            problems.append(Problem(what, str(root / repository.name), download_command(paths, root)))
    if problems:
        raise CheckpointError.from_problems(problems)


def download_command(what: Iterable[str], root: Path) -> str:
    """The command line that fetches families, models, repositories or files into the checkpoint folder `root`."""
    place = [] if root == DEFAULT_ROOT else ["--checkpoint-dir", str(root)]
    return shlex.join(["cosmos", "download", *dict.fromkeys(what), *place])
