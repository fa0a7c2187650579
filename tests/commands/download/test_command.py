"""`cosmos download` as it is typed: names, dry runs, verification, the originals' words."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosmos_cli.checkpoints.catalogue import GUARDRAILS
from tests.hub_server import Hub
from tests.parcel import (
    BASE,
    CONFIG,
    EDGE,
    FAST,
    TEXT,
    Cosmos,
)
from tests.test_architecture import HEAVY, modules_loaded_by


def test_verify_finds_one_wrong_byte_and_says_how_to_mend_it(hub: Hub, cosmos: Cosmos) -> None:
    assert cosmos("download", "parcel").exit_code == 0
    assert cosmos("download", "parcel", "--verify").stdout == "4 files are the published ones, 4.1 MB\n"
    damaged = Path("checkpoints", BASE)
    content = bytearray(damaged.read_bytes())
    content[1_234_567] ^= 1
    damaged.write_bytes(content)
    Path("checkpoints", CONFIG).unlink()
    result = cosmos("download", "parcel", "--verify", "--json")
    assert result.exit_code == 4
    [wrong, missing] = result.json["problems"]
    assert wrong == {
        "what": "is damaged: its content is not the published one.",
        "where": f"checkpoints/{BASE}",
        "fix": None,
    }
    assert missing["what"] == "is missing."
    assert missing["fix"] == f"Remove checkpoints/{BASE}, then: cosmos download {BASE} {CONFIG}"


def test_a_dry_run_asks_nobody_and_says_what_a_run_would_fetch(hub: Hub, cosmos: Cosmos) -> None:
    Path("checkpoints", BASE).parent.mkdir(parents=True)
    Path("checkpoints", BASE).touch()
    hub.refuses = {"acme/world": 500, "acme/text": 500}
    document = cosmos("download", "parcel", "--dry-run", "--json").json
    assert document["files"][0] == {"path": BASE, "bytes": 3_000_000, "state": "present", "optional": False}
    assert document["missing_bytes"] == 1_100_013 and document["total_bytes"] == 4_100_013
    assert document["licences"][1] == {"repository": "acme/text", "licence": "Text License", "gated": True}
    shown = cosmos("download", "parcel", "--dry-run").stdout
    assert "1.1 MB to fetch of 4.1 MB" in shown
    assert "Text License: acme/text (gated)" in shown
    assert "World License: acme/world (may be gated)" in shown
    shown = cosmos("download", "parcel/parts", "--dry-run").stdout
    assert f"missing  {FAST}" in shown and "it is published, for --fast" in shown
    assert shown.endswith("parts are not the whole\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["parcel"], [BASE, EDGE, CONFIG, TEXT]),
        (["parcel/big"], [BASE, EDGE, CONFIG, TEXT]),
        (["other", TEXT], [TEXT]),
        (["acme/world"], [BASE, EDGE, CONFIG]),
        ([EDGE, CONFIG], [EDGE, CONFIG]),
        (["parcel", "--controls", "parcel-edge"], [BASE, EDGE, CONFIG, TEXT]),
    ],
)
def test_a_name_stands_for_a_family_a_model_a_repository_or_a_file(
    cosmos: Cosmos, arguments: list[str], expected: list[str]
) -> None:
    result = cosmos("download", *arguments, "--dry-run", "--json")
    assert [file["path"] for file in result.json["files"]] == expected


def test_a_family_fetches_its_own_models(cosmos: Cosmos) -> None:
    for names, expected in (([], [BASE, EDGE, CONFIG, TEXT]), (["other"], [TEXT])):
        result = cosmos("parcel", "download", *names, "--dry-run", "--json")
        assert [file["path"] for file in result.json["files"]] == expected


@pytest.mark.parametrize(
    ("line", "first"),
    [
        ("transfer download", "Cosmos-Transfer1-7B/base_model.pt"),
        ("predict1 download --model_sizes 7B 14B --model_types Text2World", "Cosmos-Predict1-7B-Text2World/model.pt"),
        (
            "predict2 download --model_sizes 2B --model_types video2world",
            "Cosmos-Predict2-2B-Video2World/model-720p-16fps.pt",
        ),
        (
            "download --model_types sample_gr00t_dreams_gr1",
            "Cosmos-Predict2-14B-Sample-GR00T-Dreams-GR1/model-480p-16fps.pt",
        ),
    ],
)
def test_the_originals_downloads_run_under_their_own_words(cosmos: Cosmos, line: str, first: str) -> None:
    result = cosmos(*line.split(), "--output_dir", "weights/", "--dry-run", "--json")
    assert result.exit_code == 0, result.stderr
    assert result.json["checkpoint_dir"] == "weights"
    assert result.json["files"][0]["path"] == f"nvidia/{first}"


@pytest.mark.parametrize(
    "line", ["models", "download --help", "download transfer --controls edge --dry-run", "doctor --help"]
)
def test_what_only_shows_something_imports_nothing_heavy(line: str) -> None:
    assert not modules_loaded_by(*line.split()) & HEAVY


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "says nothing to fetch."),
        (["parcle"], "Did you mean parcel?"),
        (["parcel", "--controls", "parcel-none"], "parcel has no control parcel-none."),
        (["parcel", "--controls", "colour"], "there is no control 'colour'."),
    ],
)
def test_a_name_that_stands_for_nothing_is_bad_input(cosmos: Cosmos, arguments: list[str], message: str) -> None:
    result = cosmos("download", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_models_that_make_no_pictures_need_no_guardrails(cosmos: Cosmos) -> None:
    def repositories(*names: str) -> set[str]:
        return {part["repository"] for part in cosmos("download", *names, "--dry-run", "--json").json["licences"]}

    guardrails = {repository.name for repository in GUARDRAILS}
    assert guardrails < repositories("transfer") & repositories("predict2") & repositories("multiview-2B")
    assert not guardrails & repositories("UpsamplePrompt1-12B")
    assert not guardrails & repositories("parcel")  # whose run has no guardrails of ours
