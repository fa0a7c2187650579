"""What can be downloaded, and what to say when it has not been."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cosmos_cli.errors import CheckpointError, Problem


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
    """

    name: str
    revision: str
    files: tuple[PublishedFile, ...]
    licence: str

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
        PublishedFile("spiece.model", 792_000),
        PublishedFile("tokenizer.json", 1_390_000),
        PublishedFile("pytorch_model.bin", 45_200_000_000),
    ),
    "Apache-2.0",
)
"""The text encoder of every family."""


def require(repositories: Iterable[Repository], root: Path) -> None:
    """Make sure that all files are there. Nothing is opened.

    Raises:
        CheckpointError: what is missing, how large it is, and the command that fetches it.
    """
    problems = []
    for repository in repositories:
        missing = repository.missing(root)
        if missing:
            size = sum(file.num_bytes for file in missing) / 1e9
            names = ", ".join(file.path for file in missing)
            paths = " ".join(file.path for file in missing)
            folder = root / repository.name
            problems.append(
                Problem(
                    f"{names} missing ({size:.1f} GB, {repository.licence}).",
                    str(folder),
                    f"hf download {repository.name} {paths} --revision {repository.revision} --local-dir {folder}",
                )
            )
    if problems:
        raise CheckpointError.from_problems(problems)
