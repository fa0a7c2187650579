"""Answers of a Hub to each question of a download: lists that say odd things, headers that lie, content of others."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.judge import fuzz, judge
from tests.fuzz.values import changed, dumped, mangled
from tests.hub_server import Hub
from tests.parcel import TEXT, hub, packages  # noqa: F401

CONTENT = bytes(range(256)) * 16


def _facts(path: str, content: bytes, **more: object) -> dict[str, object]:
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": git, **more}


LISTS = (
    [_facts("model.bin", CONTENT)],
    [_facts("model.bin", CONTENT, lfs={"oid": hashlib.sha256(CONTENT).hexdigest(), "size": 4096, "pointerSize": 134})],
    [_facts("words/a.txt", b"one\n"), {"type": "directory", "path": "words/more", "oid": "0" * 40}],
)
OF_LISTS = ("type", "path", "size", "oid", "lfs")
_VALUES = (
    "0",
    "-1",
    "7",
    "4096",
    "9" * 30,
    "nonsense",
    "",
    "\xb2",
    "gzip",
    "http://[",
    "/x",
    "file:///etc/passwd",
    "bytes */4096",
)
_NAMES = (
    "Content-Length",
    "Content-Encoding",
    "Content-Range",
    "Location",
    "ETag",
    "Link",
    "Retry-After",
    "X-Error-Code",
)
_CODES = (200, 200, 200, 200, 204, 206, 301, 302, 304, 400, 401, 403, 404, 416, 429, 500, 503)

_QUESTIONS = ("auth-check", "paths-info", "/tree/", "/resolve/")

answers = st.tuples(
    st.sampled_from(_CODES),
    st.dictionaries(st.sampled_from(_NAMES), st.sampled_from(_VALUES), max_size=2),
    st.one_of(mangled(changed(LISTS, OF_LISTS).map(dumped).map(str.encode)), mangled(st.just(CONTENT))),
)


@pytest.fixture
def impatient(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:  # noqa: F811
    """The Hub of a client that asks once, and waits for nothing."""
    monkeypatch.setattr("cosmos_cli.checkpoints.download.MAX_ATTEMPTS", 1)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1.0)
    hub.files = {TEXT: CONTENT, "acme/lists/words/a.txt": b"one\n"}
    hub.large = set()
    return hub


@fuzz
@given(
    st.dictionaries(
        st.sampled_from(("auth-check", "paths-info", "/tree/", "/resolve/")), answers, min_size=1, max_size=2
    ),
    st.sampled_from(("acme/text", "checked")),
)
def test_answers(impatient: Hub, given: dict[str, tuple[int, dict[str, str], bytes]], name: str) -> None:
    shutil.rmtree("checkpoints", ignore_errors=True)
    impatient.raw = dict(given)
    judge("download", name, codes=(0, 1, 4))
    there = Path("checkpoints", TEXT)
    if there.exists() and not {"paths-info", "/tree/"} & given.keys():
        assert there.read_bytes() == CONTENT
