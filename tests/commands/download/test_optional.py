"""Files that a model can do without, or that are not open to everybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.hub_server import Hub
from tests.parcel import (
    EXTRA,
    FAST,
    NEED,
    NEW,
    NOTES,
    PARTS,
    TEXT,
    Cosmos,
    files_in,
    parts,
)


def test_optional_files_are_fetched_where_they_are_published(hub: Hub, cosmos: Cosmos) -> None:
    result = cosmos("download", "parcel/parts", "--json")
    assert result.exit_code == 0, result.stderr
    assert files_in(Path("checkpoints")) == PARTS  # each of the revision that has it
    assert result.json["notices"] == ["parts are not the whole"]
    assert cosmos("download", "parcel/parts").stdout == "all files are there: checkpoints\n"
    assert cosmos("download", "parcel/parts", "--verify").stdout.startswith("5 files are the published ones")


@pytest.mark.parametrize("revision", ["there", "gone"])
def test_what_is_optional_and_not_published_is_named_in_one_line(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    for path in (EXTRA, FAST, NEW, NOTES):
        del hub.files[path]
    hub.gone = {"acme/parts@v2"} if revision == "gone" else set()
    result = cosmos("download", "parcel/parts", "--json")
    assert result.exit_code == 0, result.stderr
    assert files_in(Path("checkpoints")) == {NEED: PARTS[NEED]}
    [line] = [notice for notice in result.json["notices"] if notice.startswith("optional, and not published: ")]
    assert f"{EXTRA}; " in line and "acme/parts/notes/" in line
    assert f"{FAST}, which only --fast needs" in line and f"{NEW}, which only --new needs" in line
    # what nobody publishes is no reason to ask again where that is forbidden, nor to call the files damaged
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert cosmos("download", "parcel/parts").exit_code == 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert cosmos("download", "parcel/parts", "--verify").exit_code == 0
    [model] = [model for model in cosmos("models", "--json").json["models"] if model["name"] == "parcel/parts"]
    assert (model["state"], model["missing_bytes"], model["optional_missing_bytes"]) == ("present", 0, 30_007)


def test_an_optional_file_that_cannot_be_fetched_costs_no_more_than_a_line(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosmos_cli.checkpoints.download.MAX_ATTEMPTS", 2)
    hub.lies = {EXTRA: [b"[]\n"] * 2}
    hub.busy = {FAST: 9}
    result = cosmos("download", "parcel/parts", "--json")
    assert result.exit_code == 0, result.stderr
    assert set(files_in(Path("checkpoints"))) - set(parts()) == {NEED, NEW, NOTES}
    [line] = [notice for notice in result.json["notices"] if notice.startswith("optional, and not fetched: ")]
    assert f"{EXTRA}: what the Hub sent twice" in line and f"{FAST}: could not be fetched" in line
    assert {file["path"] for file in result.json["files"]} == {NEED, NEW, NOTES}
    hub.busy = {}
    assert cosmos("download", "parcel/parts").exit_code == 0
    assert files_in(Path("checkpoints")) == PARTS


def test_files_that_are_not_open_to_a_user_come_with_what_serves_as_well(hub: Hub, cosmos: Cosmos) -> None:
    hub.gated = {"acme/parts"}
    result = cosmos("download", "parcel/copy", "--json")
    assert result.exit_code == 4
    [problem] = result.json["problems"]
    assert "Accept it on" in problem["fix"]
    assert problem["fix"].endswith(f"Or fetch what serves as well: cosmos download {TEXT}")
    assert cosmos("download", TEXT).exit_code == 0
    assert cosmos("download", "parcel/copy").stdout == "all files are there: checkpoints\n"
    hub.gated = set()
    # who asks for the one by its name gets it beside the other
    assert cosmos("download", "acme/parts/need.bin").exit_code == 0


def test_what_computes_controls_is_optional_in_a_model_and_not_for_who_names_the_control(cosmos: Cosmos) -> None:
    def optional(*arguments: str) -> dict[str, bool]:
        document = cosmos("download", *arguments, "--dry-run", "--json").json
        return {file["path"].rpartition("/")[0]: file["optional"] for file in document["files"]}

    tracker, depth = "facebook/sam2-hiera-large", "depth-anything/Depth-Anything-V2-Small-hf"
    whole = optional("transfer")
    assert whole[tracker] and whole[depth] and not whole["nvidia/Cosmos-Transfer1-7B"]
    assert depth not in optional("transfer", "--controls", "seg")
    for named in (("transfer", "--controls", "seg"), (tracker,), ("transfer", tracker)):
        assert not optional(*named)[tracker]


def test_what_a_user_names_is_not_optional(hub: Hub, cosmos: Cosmos) -> None:
    del hub.files[FAST]
    result = cosmos("download", FAST, NEW)
    assert result.exit_code == 4
    assert "fast.bin not there in revision v1." in result.stderr
    assert files_in(Path("checkpoints")) == {NEW: PARTS[NEW]}
