"""What the Hub says about published files: whether this user may have them, how large they are, what they hash to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import constants, get_token, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cosmos_cli.checkpoints.answers import Entry, ask, check, entry, not_understood, pages, transport_errors
from cosmos_cli.checkpoints.catalogue import PublishedFile, Repository, download_command
from cosmos_cli.checkpoints.hub_cache import contents
from cosmos_cli.errors import CheckpointError, CosmosError, InputError, Problem

LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN."


@dataclass(frozen=True)
class RemoteFile:
    """One file as the Hub has it.

    folder: of its repository under the checkpoint folder.
    is_optional: whether the catalogue says so of it.
    sha256: of the content; None for small files, whose content git names by `git_sha1`.
    xet_hash: of the content in the Hub's store of chunks; None where it is not there.
    """

    repository: Repository
    folder: Path
    path: str
    num_bytes: int
    sha256: str | None
    git_sha1: str
    is_optional: bool = False
    xet_hash: str | None = None

    @cached_property
    def local_path(self) -> Path:
        """Where it belongs under the checkpoint folder."""
        return self.folder / self.path

    @property
    def name(self) -> str:
        """Repository and path, as `cosmos download` takes it."""
        return f"{self.repository.name}/{self.path}"

    @property
    def digest(self) -> str:
        """What the content must hash to, as a hexadecimal number."""
        return self.sha256 or self.git_sha1

    @property
    def url(self) -> str:
        """Where it is fetched."""
        repository = self.repository
        return hf_hub_url(
            repository.name,
            self.path,
            repo_type=repository.kind,
            revision=repository.revision,
            endpoint=constants.ENDPOINT,
        )

    def new_hash(self) -> Any:
        """An empty hash of the kind that `digest` is."""
        if self.sha256:
            return hashlib.sha256()
        return hashlib.sha1(f"blob {self.num_bytes}\0".encode(), usedforsecurity=False)


@dataclass
class Listing:
    """What the Hub has of the files that were asked for.

    lacking: what to say of each optional file that it has not.
    problems: the other files that it has not.
    """

    files: list[RemoteFile] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def look_up_in_cache(repositories: Iterable[Repository], root: Path) -> Listing:
    """What the Hub's cache has of the files that are missing, for who may ask nobody.

    Raises:
        InputError: it has not all of them.
    """
    found, lost = Listing(), []
    for repository in repositories:
        folder = repository.folder(root).relative_to(root)
        for file in repository.missing(root):
            known = contents(repository, file)
            lost += [] if known else [f"{repository.name}/{file.path}"]
            for path, (digest, num_bytes) in sorted(known.items()):
                sha256 = digest if len(digest) == 64 else None
                found.files.append(RemoteFile(repository, folder, path, num_bytes, sha256, digest))
    if lost:
        raise InputError(
            "files are missing, and HF_HUB_OFFLINE forbids to fetch them.", where=", ".join(lost), fix="Unset it."
        )
    return found


def is_offline() -> bool:
    """Whether the user forbids to ask the Hub."""
    return constants.HF_HUB_OFFLINE


def look_up(repositories: Iterable[Repository], root: Path) -> Listing:
    """Ask the Hub about all files, those in folders too. No content is fetched.

    Args:
        root: checkpoint folder, in which some may lie where the originals keep them.
    Raises:
        CheckpointError: for every repository that is not open to this user what to do about it, unless all files that
            are asked of it are optional.
        InputError: `HF_HUB_OFFLINE` is set.
        CosmosError: the Hub does not answer, or asks for fewer questions.
    """
    found = Listing()
    refused: list[Problem] = []
    for repository in repositories:
        try:
            _check_access(repository)
            _list(repository, repository.folder(root).relative_to(root), found)
        except OfflineModeIsEnabled as error:
            raise InputError(
                "files are missing, and HF_HUB_OFFLINE forbids to fetch them.", where=repository.name, fix="Unset it."
            ) from error
        except CheckpointError as error:
            refused += error.problems
        except HfHubHTTPError as error:
            problem = _with_way_round(refusal(error, repository), repository, root)
            if all(file.is_optional for file in repository.files):
                found.lacking += [f"{_lacking(repository, file)} ({problem.what})" for file in repository.files]
            elif isinstance(error, RevisionNotFoundError):
                # what else was asked for is not the worse for it
                found.problems.append(problem)
            else:
                refused.append(problem)
        except transport_errors() as error:
            raise CosmosError(
                f"{constants.ENDPOINT} does not answer: {error}.",
                where=repository.name,
                fix="Try again, or name a mirror in HF_ENDPOINT. What was fetched is kept.",
            ) from error
    if refused:
        raise CheckpointError.from_problems(refused)
    return found


def _with_way_round(problem: Problem, repository: Repository, root: Path) -> Problem:
    """The same problem, and what serves as well as files that are not to be had."""
    if not repository.other_forms:
        return problem
    other = f"{repository.belongs_to or repository.name}/{repository.other_forms[0]}"
    return replace(problem, fix=f"{problem.fix} Or fetch what serves as well: {download_command([other], root)}")


def who_am_i() -> str | None:
    """The name of the user on the Hub; None if nobody is logged in.

    Raises:
        CosmosError: the Hub does not know the login, or cannot be asked.
    """
    if constants.HF_HUB_OFFLINE:
        raise InputError("HF_HUB_OFFLINE is set: nothing can be fetched.", fix="Unset it to download.")
    if not get_token():
        return None
    try:
        answer = ask("/api/whoami-v2", "login")
    except transport_errors() as error:
        raise CosmosError(f"{constants.ENDPOINT} does not answer ({error}).", fix="Check the network.") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            raise InputError("the Hub does not accept HF_TOKEN or the stored login.", fix=LOG_IN) from error
        raise CosmosError(f"the Hub answered with status {status}.", fix="Try again later.") from error
    name = answer.get("name") if isinstance(answer, dict) else None
    if not isinstance(name, str):
        raise not_understood("login", "it does not say whose the login is")
    return name


def refusal(error: HfHubHTTPError, repository: Repository) -> Problem:
    """What an answer other than the one hoped for means, and the way out."""
    page, name = _page(repository), repository.name
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        login = "" if get_token() else f" {LOG_IN}"
        return Problem("its licence must be accepted before it can be fetched.", name, f"Accept it on {page}.{login}")
    if status == 401:
        what = "the Hub does not accept HF_TOKEN or the stored login." if get_token() else "the Hub asks for a login."
        return Problem(what, name, LOG_IN)
    if isinstance(error, RevisionNotFoundError):
        return Problem("the published revision is not there any more.", name, f"See {page}.")
    if isinstance(error, RepositoryNotFoundError) or status in (403, 404):
        return Problem("does not exist, or is not open to this login.", name, f"See {page}.")
    if status == 429:
        return Problem("the Hub asks to wait: too many requests.", name, "Try again in some minutes.")
    return Problem(f"the Hub answered with status {status}.", name, "Try again later.")


def _page(repository: Repository) -> str:
    return f"{constants.ENDPOINT}/{'datasets/' if repository.kind == 'dataset' else ''}{repository.name}"


def _address(repository: Repository, question: str) -> str:
    return f"/api/{repository.kind}s/{repository.name}/{question}"


def _check_access(repository: Repository) -> None:
    try:
        check(_address(repository, "auth-check"))
    except HfHubHTTPError as error:
        # a mirror may not know this question; then the answer comes with the first file
        if isinstance(error, RepositoryNotFoundError) or error.response.status_code != 404:
            raise


def _list(repository: Repository, folder: Path, found: Listing) -> None:
    """Add what the Hub has, and what it lacks, of a repository."""
    single = [file.path for file in repository.files if not file.is_folder]
    known: dict[str, Entry] = {}
    if single:
        question = _address(repository, f"paths-info/{quote(repository.revision, safe='')}")
        listed = ask(question, repository.name, form={"paths": single, "expand": "false"})
        if not isinstance(listed, list):
            raise not_understood(repository.name, f"it holds a {type(listed).__name__} in place of a list of files")
        known = {answer.path: answer for facts in listed if (answer := entry(facts, repository.name))}
    lost = []
    # single files first: they are many where they come with a folder, and belong together
    for file in sorted(repository.files, key=lambda file: file.is_folder):
        inside = _files_inside(repository, file.path) if file.is_folder else [known.get(file.path)]
        answers = [answer for answer in inside if answer is not None]
        found.files += [_remote(repository, folder, answer, file.is_optional) for answer in answers]
        if not answers and file.is_optional:
            found.lacking.append(_lacking(repository, file))
        elif not answers:
            lost.append(file.path)
    if lost:
        found.problems.append(
            Problem(
                f"{', '.join(lost)} not there in revision {repository.revision}.",
                repository.name,
                f"See {_page(repository)}/tree/{repository.revision}.",
            )
        )


def _lacking(repository: Repository, file: PublishedFile) -> str:
    use = f", which only {file.only_for} needs" if file.only_for else ""
    return f"{repository.name}/{file.path}{use}"


def _files_inside(repository: Repository, folder: str) -> list[Entry]:
    question = f"tree/{quote(repository.revision, safe='')}/{quote(folder.rstrip('/'), safe='')}?recursive=true"
    try:
        listed = pages(_address(repository, question), repository.name)
        found = {file.path: file for facts in listed if (file := entry(facts, repository.name))}
    except EntryNotFoundError:
        return []
    files = [found[path] for path in sorted(found)]
    for file in files:
        # these names come from the network and become paths on this machine
        if not file.path.startswith(folder):
            raise CheckpointError(
                f"the Hub says that {file.path} is in {folder}; nothing was fetched.",
                where=repository.name,
                fix="If HF_ENDPOINT names a mirror, try without.",
            )
    return files


def _remote(repository: Repository, folder: Path, answer: Entry, is_optional: bool) -> RemoteFile:
    return RemoteFile(
        repository,
        folder,
        answer.path,
        answer.num_bytes,
        answer.sha256,
        answer.git_sha1,
        is_optional,
        answer.xet_hash,
    )
