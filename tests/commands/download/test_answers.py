"""Answers of a Hub that are none, lead elsewhere, or never end: nothing is believed before it was looked at."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.hub_server import TOKEN, Hub, serving
from tests.parcel import FILES, TEXT, Cosmos


def listing(**facts: object) -> bytes:
    entry = {"type": "file", "path": "words/a.txt", "size": 4, "oid": "0" * 40}
    return json.dumps([entry | facts]).encode()


ANSWERS = {
    "html": b"<!DOCTYPE html><html>Sign in to the network</html>",
    "nothing": b"",
    "null": b"null",
    "number": b"3",
    "string in the list": b'["words/a.txt"]',
    "type": listing(type=3),
    "cut": b'[{"type": "file", "path": "wor',
    "deep": b"[" * 100_000,
    "deep and closed": b"[" * 500 + b"]" * 500,
    "digits": b'[{"type": "file", "path": "words/a.txt", "size": ' + b"9" * 5_000 + b"}]",
    "not utf-8": b'["\xff"]',
    "large": b"[" + b" " * (17 << 20) + b"]",
    "size below zero": listing(size=-1),
    "size of a planet": listing(size=1 << 70),
    "size in words": listing(size="4"),
    "true as a size": listing(size=True),
    "no digest": listing(oid=None),
    "digest in words": listing(oid="../../../x" * 4),
    "digest of lfs": listing(lfs={"oid": "0" * 40}),
    "lfs is a list": listing(lfs=[1]),
    "half a character": listing(path="words/\ud800"),
}
NAMES = [
    "words/\x1b[2Ja.txt",
    "words/..\\..\\a.txt",
    "words//a.txt",
    "words/./a.txt",
    "words/a\0.txt",
    "words/a\nb",
    "",
]
NAMES += [f"words/{'a' * 250}", "words/"]


@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_that_is_not_the_hubs_is_said_to_be_that(hub: Hub, cosmos: Cosmos, what: str) -> None:
    for question, name in (("/tree/", "checked"), ("/paths-info/", "acme/text")):
        hub.raw = {question: (200, {"Content-Type": "application/json"}, ANSWERS[what])}
        result = cosmos("download", name, "--json")
        assert (result.exit_code, result.json["error"]) == (1, "Failed")
        assert "gives an answer that is not the Hub's" in result.json["problems"][0]["what"]
    assert not hub.sent


@pytest.mark.parametrize("name", NAMES)
def test_names_that_no_file_should_have_are_refused(hub: Hub, cosmos: Cosmos, name: str) -> None:
    hub.raw = {"/tree/": (200, {}, listing(path=name))}
    result = cosmos("download", "checked", "--json")
    assert result.exit_code == 4
    assert "lists a file under the name" in result.json["problems"][0]["what"]
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize("question", ["auth-check", "paths-info", "/resolve/"])
@pytest.mark.parametrize(
    "location", ["{self}", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://[", "http://127.0.0.1:9/"]
)
def test_addresses_that_lead_nowhere_are_given_up(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch, question: str, location: str
) -> None:
    monkeypatch.setattr("cosmos_cli.checkpoints.download.MAX_ATTEMPTS", 2)
    hub.raw = {question: (302, {"Location": location.format(self=f"{hub.url}/x/{question.strip('/')}/y")}, b"")}
    hub.raw[f"/x/{question.strip('/')}/y"] = hub.raw[question]
    result = cosmos("download", "acme/text", "--json")
    assert (result.exit_code, result.json["error"]) == (1, "Failed")
    assert not hub.sent


def test_the_login_stays_with_the_hub(hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving(Hub({"a/b/d": b"x"})) as other:
        address = f"{other.url.replace('127.0.0.1', 'localhost')}/cdn/a/b/resolve/c/d"
        for question in ("auth-check", "paths-info", "/tree/", "/resolve/"):
            hub.raw = {question: (302, {"Location": address}, b"")}
            cosmos("download", "checked" if question == "/tree/" else "acme/text")
        assert other.sent
        hub.raw = {"/tree/": (200, {"Link": f'<{address}>; rel="next"'}, listing())}
        result = cosmos("download", "checked", "--json")
        assert "its next page is on another server" in result.json["problems"][0]["what"]
        assert other.told == []


def test_a_list_without_an_end_is_given_up(hub: Hub, cosmos: Cosmos) -> None:
    hub.raw = {"/tree/": (200, {"Link": f'<{hub.url}/tree/again>; rel="next"'}, listing())}
    result = cosmos("download", "checked", "--json")
    assert result.exit_code == 1
    assert "does not end" in result.json["problems"][0]["what"]


@pytest.mark.parametrize("after", ["9" * 5_000, "-1", "Fri, 31 Dec 9999 23:59:59 GMT", "\u00b2", "soon"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_wish_to_wait_that_means_nothing_is_not_waited_for(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch, after: str, status: int
) -> None:
    monkeypatch.setattr("cosmos_cli.checkpoints.download.MAX_ATTEMPTS", 2)
    monkeypatch.setattr("cosmos_cli.checkpoints.download.MAX_WAIT_S", 0.01)
    hub.raw = {"/resolve/": (status, {"Retry-After": after}, b"x" * 100_000)}
    result = cosmos("download", "acme/text", "--json")
    assert result.exit_code == 1
    assert f"status {status}" in result.json["problems"][0]["what"]
    hub.raw = {"paths-info": (status, {"Retry-After": after}, b"{")}
    assert cosmos("download", "acme/text").exit_code == 4


def test_content_that_is_compressed_is_not_unpacked(hub: Hub, cosmos: Cosmos) -> None:
    hub.raw = {"/resolve/": (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(10 << 20)))}
    result = cosmos("download", "acme/text", "--json")
    assert result.exit_code == 4
    assert "compresses files" in result.json["problems"][0]["what"]


@pytest.mark.parametrize("part", ["bytes 0-399999/400000", "bytes 7-8/9", "", "nonsense"])
def test_another_part_of_a_file_than_the_one_asked_for_is_not_taken(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr("cosmos_cli.checkpoints.download.MAX_ATTEMPTS", 2)
    hub.cuts = {TEXT: [100_000]}
    hub.then = {"/resolve/": (206, {"Content-Range": part}, FILES[TEXT])}
    result = cosmos("download", "acme/text", "--json")
    assert "another part of it" in result.json["problems"][0]["what"]
    hub.then = {}
    assert cosmos("download", "acme/text").exit_code == 0
    assert hub.ranges == [f"{TEXT} 100000"]


# ---- a folder in which somebody has left something
