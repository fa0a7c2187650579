"""Asking the Hub: its answers are bounded in size and time, and nothing in them is believed before it was looked at."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from cosmos_cli.errors import CheckpointError, CosmosError
from cosmos_cli.files.documents import parse_json

MAX_ANSWER_BYTES = 16 << 20
"""Of one answer: a page of 1,000 files takes a tenth of that."""
MAX_ANSWER_S = 120.0
MAX_ENTRIES = 100_000
"""Files and folders in one folder of a repository."""
MAX_FILE_BYTES = 1 << 44
"""Of one file, 16 TiB: far more than anything published."""
_MAX_REASON_BYTES = 1 << 16
_MAX_NAME_BYTES = 200
"""Of each part of a path, which a file that is not complete adds to; file systems take 255."""
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

_NOT_THE_HUB = (
    "Try again later; if HF_ENDPOINT names a mirror or a proxy stands in between, try without. "
    "What was fetched is kept."
)


@dataclass(frozen=True)
class Entry:
    """A file as the Hub lists it.

    sha256: of the content, where git keeps a pointer in its place.
    xet_hash: what the store that is shared by all repositories calls the content, where it lies there.
    """

    path: str
    num_bytes: int
    git_sha1: str
    sha256: str | None
    xet_hash: str | None = None


def request_headers() -> dict[str, str]:
    """Headers of a request, with the user's token if there is one."""
    # compressed in transit, a file could neither be resumed nor counted, and an answer not be bounded
    return {**build_hf_headers(library_name="cosmos-cli"), "Accept-Encoding": "identity"}


def transport_errors() -> tuple[type[Exception], ...]:
    """What the Hub's client raises when a connection fails, leads nowhere, or in a circle."""
    # huggingface_hub 1 is built on httpx and later releases on httpx2, with the same names
    library = importlib.import_module(type(get_session()).__module__.partition(".")[0])
    return library.RequestError, library.InvalidURL


def bounded(answer: Any, limit: int = _MAX_REASON_BYTES) -> Any:
    """An open answer with its content, of which no more than a byte beyond the limit is read."""
    content, until = b"", time.monotonic() + MAX_ANSWER_S
    for part in answer.iter_raw():
        content += part[: limit + 1 - len(content)]
        if len(content) > limit or time.monotonic() > until:
            break
    # as bytes: they need not be ASCII
    kept = [pair for pair in answer.headers.raw if not pair[0].lower().startswith((b"content-", b"transfer-"))]
    return type(answer)(answer.status_code, headers=kept, content=content, request=answer.request)


def raise_for_status(answer: Any) -> None:
    """Raises HfHubHTTPError: the answer is a refusal, whatever it gives as its reason."""
    try:
        hf_raise_for_status(answer)
    except HfHubHTTPError:
        raise
    except Exception as error:  # the client believes that a reason in JSON is an object
        raise HfHubHTTPError(f"the Hub answered with status {answer.status_code}", response=answer) from error


def check(path: str) -> None:
    """Ask a question whose answer is in its status. Errors as for `ask`."""
    _answer(f"{constants.ENDPOINT}{path}", None)


def ask(path: str, where: str, *, form: dict[str, Any] | None = None) -> Any:
    """The document that the Hub answers with.

    Args:
        path: of the question, after the Hub's address. where: what to name in errors. form: sent along, as a form.
    Raises:
        CosmosError: the answer is no JSON, or too large. HfHubHTTPError: it is a refusal. Also `transport_errors`.
    """
    content, _ = _answer(f"{constants.ENDPOINT}{path}", form)
    return _document(content, where)


def _answer(url: str, form: dict[str, Any] | None) -> tuple[bytes, str | None]:
    """Content, and the address of the next page if there is one."""
    with get_session().stream(
        "GET" if form is None else "POST",
        url,
        data=form,
        headers=request_headers(),
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        follow_redirects=True,
    ) as answer:
        if answer.status_code >= 400:
            raise_for_status(bounded(answer))
        return bounded(answer, MAX_ANSWER_BYTES).content, answer.links.get("next", {}).get("url")


def pages(path: str, where: str) -> Iterator[Any]:
    """The entries of a list that the Hub gives in pages. Errors as for `ask`."""
    url, seen, num_entries = f"{constants.ENDPOINT}{path}", set[str](), 0
    while True:
        content, next_page = _answer(url, None)
        page = _document(content, where)
        if not isinstance(page, list):
            raise not_understood(where, f"it holds a {type(page).__name__} in place of a list of files")
        yield from page
        num_entries += len(page)
        if next_page is None:
            return
        # the login goes with every question, and the answer says where the next one is put
        if urlsplit(next_page)[:2] != urlsplit(constants.ENDPOINT)[:2]:
            raise not_understood(where, "its next page is on another server, which the login is not shown to")
        if next_page in seen or num_entries > MAX_ENTRIES:
            raise not_understood(where, f"its list of files does not end ({num_entries:,} so far)")
        seen.add(next_page)
        url = next_page


def entry(facts: Any, where: str) -> Entry | None:
    """A file out of a list, None for what is none.

    Raises:
        CosmosError: it is not what the Hub says of a file. CheckpointError: no file should have such a name.
    """
    if not isinstance(facts, dict) or not isinstance(facts.get("type"), str):
        raise not_understood(where, "it lists what is neither a file nor a folder")
    if facts["type"] != "file":
        return None
    path, num_bytes, git_sha1, large = (facts.get(name) for name in ("path", "size", "oid", "lfs"))
    sha256 = large.get("oid") if isinstance(large, dict) else None
    if not isinstance(path, str) or not _is_plain(path):
        # names become paths on this machine
        raise CheckpointError(
            f"the Hub lists a file under the name {str(path)[:80]!r}; nothing was fetched.",
            where=where,
            fix="If HF_ENDPOINT names a mirror, try without.",
        )
    if type(num_bytes) is not int or not 0 <= num_bytes <= MAX_FILE_BYTES:
        raise not_understood(where, f"it says that {path} has {str(num_bytes)[:40]!r} bytes")
    if (large is not None and not _is_digest(sha256, 64)) or not _is_digest(git_sha1, 40):
        raise not_understood(where, f"it does not say what the content of {path} is known by")
    xet_hash = facts.get("xetHash")
    return Entry(path, num_bytes, str(git_sha1), sha256, xet_hash if _is_digest(xet_hash, 64) else None)


def not_understood(where: str, why: str) -> CosmosError:
    """The error for an answer that is not one of the Hub's."""
    what = f"{constants.ENDPOINT} gives an answer that is not the Hub's: {why}."
    return CosmosError(what, where=where, fix=_NOT_THE_HUB)


def _is_digest(text: Any, length: int) -> bool:
    return isinstance(text, str) and len(text) == length and _DIGEST.fullmatch(text) is not None


def _is_plain(path: str) -> bool:
    parts = path.split("/")
    return (
        path.isprintable()
        and "\\" not in path
        and not any(part in ("", ".", "..") or len(part.encode(errors="replace")) > _MAX_NAME_BYTES for part in parts)
    )


def _document(content: bytes, where: str) -> Any:
    if len(content) > MAX_ANSWER_BYTES:
        raise not_understood(where, f"it is larger than {MAX_ANSWER_BYTES >> 20} MiB")
    try:
        return parse_json(content, where=where, kind=CosmosError)
    except CosmosError as error:
        begin = content[:60].decode(errors="replace").strip()
        is_page = begin.lower().startswith(("<!doctype", "<html"))
        why = "it is a web page" if is_page else f"it is no JSON that can be read, and begins with {begin!r}"
        raise not_understood(where, why) from error
