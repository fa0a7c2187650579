"""What the Hub says about published files: whether this user may have them, how large they are, what they hash to."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, get_session

from cosmos_cli.checkpoints.catalogue import Repository
from cosmos_cli.errors import CheckpointError, CosmosError, InputError, Problem

LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN."


@dataclass(frozen=True)
class RemoteFile:
    """One file as the Hub has it.

    local_path: under the checkpoint folder.
    sha256: of the content; None for small files, whose content git names by `git_sha1`.
    """

    repository: str
    revision: str
    path: str
    num_bytes: int
    sha256: str | None
    git_sha1: str

    @cached_property
    def local_path(self) -> Path:
        """Where it belongs under the checkpoint folder."""
        return Path(self.repository) / self.path

    @property
    def digest(self) -> str:
        """What the content must hash to, as a hexadecimal number."""
        return self.sha256 or self.git_sha1

    @property
    def url(self) -> str:
        """Where it is fetched."""
        return hf_hub_url(self.repository, self.path, revision=self.revision, endpoint=constants.ENDPOINT)

    def new_hash(self) -> Any:
        """An empty hash of the kind that `digest` is."""
        if self.sha256:
            return hashlib.sha256()
        return hashlib.sha1(f"blob {self.num_bytes}\0".encode(), usedforsecurity=False)


def look_up(repositories: Iterable[Repository]) -> list[RemoteFile]:
    """Ask the Hub about all files. No content is fetched.

    Raises:
        CheckpointError: for every repository that is not open to this user, or lacks a file, what to do about it.
        InputError: `HF_HUB_OFFLINE` is set.
        CosmosError: the Hub does not answer, or asks for fewer questions.
    """
    api = HfApi()
    found: list[RemoteFile] = []
    problems: list[Problem] = []
    for repository in repositories:
        try:
            _check_access(api, repository)
            found += _files(api, repository)
        except OfflineModeIsEnabled as error:
            raise InputError(
                "files are missing, and HF_HUB_OFFLINE forbids to fetch them.", where=repository.name, fix="Unset it."
            ) from error
        except CheckpointError as error:
            problems += error.problems
        except HfHubHTTPError as error:
            problems.append(refusal(error, repository.name))
        except transport_error() as error:
            raise CosmosError(
                f"{constants.ENDPOINT} does not answer: {error}.",
                where=repository.name,
                fix="Try again, or name a mirror in HF_ENDPOINT. What was fetched is kept.",
            ) from error
    if problems:
        raise CheckpointError.from_problems(problems)
    return found


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
        answer = get_session().get(
            f"{constants.ENDPOINT}/api/whoami-v2", headers=build_hf_headers(), timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
    except transport_error() as error:
        raise CosmosError(f"{constants.ENDPOINT} does not answer ({error}).", fix="Check the network.") from error
    if answer.status_code == 401:
        raise InputError("the Hub does not accept HF_TOKEN or the stored login.", fix=LOG_IN)
    if answer.status_code != 200:
        raise CosmosError(f"the Hub answered with status {answer.status_code}.", fix="Try again later.")
    name: str = answer.json()["name"]
    return name


def refusal(error: HfHubHTTPError, repository: str) -> Problem:
    """What an answer other than the one hoped for means, and the way out."""
    page = f"{constants.ENDPOINT}/{repository}"
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        login = "" if get_token() else f" {LOG_IN}"
        return Problem(
            "its licence must be accepted before it can be fetched.", repository, f"Accept it on {page}.{login}"
        )
    if status == 401:
        what = "the Hub does not accept HF_TOKEN or the stored login." if get_token() else "the Hub asks for a login."
        return Problem(what, repository, LOG_IN)
    if isinstance(error, RevisionNotFoundError):
        return Problem("the published revision is not there any more.", repository, f"See {page}.")
    if isinstance(error, RepositoryNotFoundError) or status in (403, 404):
        return Problem("does not exist, or is not open to this login.", repository, f"See {page}.")
    if status == 429:
        return Problem("the Hub asks to wait: too many requests.", repository, "Try again in some minutes.")
    return Problem(f"the Hub answered with status {status}.", repository, "Try again later.")


def transport_error() -> type[Exception]:
    """What the Hub's client raises when a connection fails."""
    # huggingface_hub 1 is built on httpx and later releases on httpx2, with the same names
    library = importlib.import_module(type(get_session()).__module__.partition(".")[0])
    kind: type[Exception] = library.TransportError
    return kind


def request_headers() -> dict[str, str]:
    """Headers of a request for content, with the user's token if there is one."""
    # compressed in transit, a file could neither be resumed nor counted
    return {**build_hf_headers(library_name="cosmos-cli"), "Accept-Encoding": "identity"}


def _check_access(api: HfApi, repository: Repository) -> None:
    try:
        api.auth_check(repository.name)
    except HfHubHTTPError as error:
        # a mirror may not know this question; then the answer comes with the first file
        if isinstance(error, RepositoryNotFoundError) or error.response.status_code != 404:
            raise


def _files(api: HfApi, repository: Repository) -> Sequence[RemoteFile]:
    wanted = [file.path for file in repository.files]
    answers = {
        answer.path: answer
        for answer in api.get_paths_info(repository.name, wanted, revision=repository.revision)
        if isinstance(answer, RepoFile)
    }
    if lost := [path for path in wanted if path not in answers]:
        raise CheckpointError(
            f"{', '.join(lost)} not there in revision {repository.revision}.",
            where=repository.name,
            fix=f"See {constants.ENDPOINT}/{repository.name}/tree/{repository.revision}.",
        )
    return [_remote(repository, answers[path]) for path in wanted]


def _remote(repository: Repository, answer: RepoFile) -> RemoteFile:
    sha256 = answer.lfs.sha256 if answer.lfs else None
    return RemoteFile(repository.name, repository.revision, answer.path, answer.size, sha256, answer.blob_id)
