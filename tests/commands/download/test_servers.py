"""What servers do to a download, and what becomes of it then."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.hub_server import TOKEN, Hub
from tests.parcel import (
    BASE,
    CONFIG,
    EDGE,
    FILES,
    NEEDED,
    TEXT,
    Cosmos,
    files_in,
    parts,
)


def test_a_line_that_is_cut_again_and_again_costs_no_byte_twice(hub: Hub, cosmos: Cosmos) -> None:
    hub.cuts = {BASE: [100_000, 1_000_000, 0, 5], TEXT: [0]}
    assert cosmos("download", "parcel").exit_code == 0
    assert files_in(Path("checkpoints")) == NEEDED
    assert hub.sent == {path: len(content) for path, content in NEEDED.items()}


def test_a_server_that_falls_silent_is_asked_again(hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1.0)  # which no answer takes by itself
    hub.stalls = {BASE: [1_000_000, 500_000]}
    assert cosmos("download", "acme/world").exit_code == 0
    assert len(hub.ranges) == 2
    assert hub.sent[BASE] == len(FILES[BASE])
    assert files_in(Path("checkpoints")) == {path: FILES[path] for path in (BASE, EDGE, CONFIG)}


def test_a_server_that_always_sends_from_the_first_byte_is_endured(hub: Hub, cosmos: Cosmos) -> None:
    hub.cuts, hub.ignores_ranges = {BASE: [2_000_000]}, True
    assert cosmos("download", "parcel").exit_code == 0
    assert hub.ranges == [f"{BASE} 2000000"]
    assert files_in(Path("checkpoints")) == NEEDED


def test_a_server_that_never_gets_further_is_given_up(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosmos_cli.checkpoints.download.MAX_ATTEMPTS", 3)
    hub.cuts, hub.ignores_ranges = {BASE: [2_000_000] * 9}, True
    result = cosmos("download", "acme/world")
    assert result.exit_code == 1
    assert "could not be fetched: the connection failed" in result.stderr
    assert len(hub.cuts[BASE]) == 9 - 3


def test_wrong_content_is_fetched_again_once(hub: Hub, cosmos: Cosmos) -> None:
    hub.lies = {BASE: [bytes(3_000_000)], CONFIG: [b'{"width": 9}\n']}
    assert cosmos("download", "parcel").exit_code == 0
    assert files_in(Path("checkpoints")) == NEEDED


def test_content_that_stays_wrong_is_not_kept_and_the_other_files_are(hub: Hub, cosmos: Cosmos) -> None:
    hub.lies = {BASE: [bytes(3_000_000)] * 2, CONFIG: [b'{"width": 9}\n'] * 2}
    result = cosmos("download", "parcel", "--json")
    assert result.exit_code == 4
    assert {problem["where"] for problem in result.json["problems"]} == {f"checkpoints/{BASE}", f"checkpoints/{CONFIG}"}
    assert set(files_in(Path("checkpoints"))) == {EDGE, TEXT}
    assert cosmos("download", "parcel").exit_code == 0
    assert files_in(Path("checkpoints")) == NEEDED


def test_more_content_than_announced_is_not_kept(hub: Hub, cosmos: Cosmos) -> None:
    hub.lies = {EDGE: [FILES[EDGE] + b"more"] * 2}
    assert cosmos("download", "parcel").exit_code == 4
    assert set(files_in(Path("checkpoints"))) == {BASE, CONFIG, TEXT}


def test_all_licences_are_checked_before_the_first_byte(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated = {"acme/world", "acme/text"}
    result = cosmos("download", "parcel", "--json")
    assert result.exit_code == 4
    assert [problem["where"] for problem in result.json["problems"]] == ["acme/world", "acme/text"]
    assert f"Accept it on {hub.url}/acme/text. Log in" in result.json["problems"][1]["fix"]
    assert not hub.sent and not Path("checkpoints").exists()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert cosmos("download", "parcel").exit_code == 0
    assert files_in(Path("checkpoints")) == NEEDED
    assert not hub.told  # the login is for the Hub, not for the place that it sends the client to


def test_a_token_that_the_hub_does_not_know_is_said_to_be_wrong(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    result = cosmos("download", "acme/text", "--json")
    assert result.exit_code == 4
    assert result.json["problems"][0]["what"] == "the Hub does not accept HF_TOKEN or the stored login."


@pytest.mark.parametrize(
    ("status", "token", "what"),
    [
        (401, None, "the Hub asks for a login."),
        (403, TOKEN, "does not exist, or is not open to this login."),
        (404, TOKEN, "does not exist, or is not open to this login."),
        (429, None, "the Hub asks to wait: too many requests."),
        (500, None, "the Hub answered with status 500."),
    ],
)
def test_a_repository_that_is_refused_says_why(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch, status: int, token: str | None, what: str
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.refuses = {"acme/text": status}
    result = cosmos("download", "parcel", "--json")
    assert result.exit_code == 4
    assert [(problem["where"], problem["what"]) for problem in result.json["problems"]] == [("acme/text", what)]
    assert not hub.sent
    hub.refuses = {}
    assert cosmos("download", "parcel").exit_code == 0
    assert files_in(Path("checkpoints")) == NEEDED


def test_a_file_that_is_not_published_any_more_is_named_when_the_others_are_there(hub: Hub, cosmos: Cosmos) -> None:
    del hub.files[EDGE]
    result = cosmos("download", "parcel")
    assert result.exit_code == 4
    assert "edge.pt not there in revision v1." in result.stderr
    assert files_in(Path("checkpoints")) == {path: data for path, data in NEEDED.items() if path != EDGE}


def test_a_file_that_is_lost_is_told_together_with_one_that_fails(hub: Hub, cosmos: Cosmos) -> None:
    del hub.files[EDGE]
    hub.lies = {CONFIG: [b'{"width": 9}\n'] * 2}
    result = cosmos("download", "parcel", "--json")
    assert result.exit_code == 4
    assert [problem["where"] for problem in result.json["problems"]] == [f"checkpoints/{CONFIG}", "acme/world"]
    assert set(files_in(Path("checkpoints"))) == {BASE, TEXT}


def test_a_revision_that_is_gone_costs_its_own_files_alone(hub: Hub, cosmos: Cosmos) -> None:
    hub.gone = {"acme/world@v1"}
    result = cosmos("download", "parcel", "--json")
    assert result.exit_code == 4
    [problem] = result.json["problems"]
    assert (problem["where"], problem["what"]) == ("acme/world", "the published revision is not there any more.")
    assert set(files_in(Path("checkpoints"))) == {TEXT}


def test_too_many_requests_are_waited_out(hub: Hub, cosmos: Cosmos) -> None:
    hub.busy = {BASE: 3, CONFIG: 1}
    assert cosmos("download", "parcel").exit_code == 0
    hub.busy = {BASE: 5}
    shutil.rmtree("checkpoints")
    result = cosmos("download", "parcel")
    assert result.exit_code == 1
    assert "status 429" in result.stderr
    assert set(files_in(Path("checkpoints"))) - set(parts()) == {EDGE, CONFIG, TEXT}
    assert cosmos("download", "parcel").exit_code == 0
    assert files_in(Path("checkpoints")) == NEEDED


def test_a_server_that_is_not_there_is_named(hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    result = cosmos("download", "parcel")
    assert result.exit_code == 1
    assert "http://127.0.0.1:9 does not answer" in result.stderr
