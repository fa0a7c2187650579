"""Content out of the store of chunks in which the Hub keeps large files, by the Hub's own client for it."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from typing import Any

from huggingface_hub import constants

from cosmos_cli.checkpoints.answers import request_headers
from cosmos_cli.checkpoints.hub import RemoteFile


def can_stream(file: RemoteFile) -> bool:
    """Whether the store has a file, and this installation what asks it."""
    return file.xet_hash is not None and not constants.HF_HUB_DISABLE_XET and _client() is not None


def stream(file: RemoteFile, begin: int) -> Iterator[bytes]:
    """Content from byte `begin` on, chunk by chunk, fetched several at a time.

    Raises:
        Exception: whatever kind the client raises when it cannot go on.
    """
    client = _client()
    assert client is not None and file.xet_hash is not None
    repository = file.repository
    group = _session().new_download_stream_group(
        token_refresh_url=f"{constants.ENDPOINT}/api/{repository.kind}s/{repository.name}/xet-read-token/"
        f"{repository.revision}",
        token_refresh_headers=request_headers(),
    )
    content = group.download_stream(client.XetFileInfo(file.xet_hash, file.num_bytes), start=begin)
    try:
        yield from content
    finally:
        content.cancel()


@functools.lru_cache(maxsize=1)
def _client() -> Any:
    """The package, None where there is none or it is too old to go on in the middle of a file."""
    try:
        client = importlib.import_module("hf_xet")
    except ImportError:
        return None
    return client if hasattr(getattr(client, "XetSession", None), "new_download_stream_group") else None


@functools.lru_cache(maxsize=1)
def _session() -> Any:
    return _client().XetSession()
