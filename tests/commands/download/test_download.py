"""`cosmos download` against a Hub on loopback that behaves badly in every way we know of, through the real client."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.hub_server import Hub
from tests.parcel import (
    BASE,
    CLIPS,
    CONFIG,
    EDGE,
    FILES,
    LISTS_OF_WORDS,
    NEEDED,
    TEXT,
    Cosmos,
    files_in,
)


def test_a_model_is_fetched_whole_and_nothing_else(hub: Hub, cosmos: Cosmos) -> None:
    result = cosmos("download", "parcel", "--json")
    assert result.exit_code == 0, result.stderr
    assert files_in(Path("checkpoints")) == NEEDED
    assert result.json == {
        "checkpoint_dir": "checkpoints",
        "fetched_bytes": sum(map(len, NEEDED.values())),
        "files": [{"path": path, "state": "fetched"} for path in (BASE, EDGE, CONFIG, TEXT)],
        "notices": [],
    }
    assert f"{BASE}: 3.0 MB, verified" in result.stderr


def test_a_mirror_that_knows_no_licences_serves(hub: Hub, cosmos: Cosmos) -> None:
    hub.is_mirror = True
    assert cosmos("download", "parcel").exit_code == 0
    assert files_in(Path("checkpoints")) == NEEDED


def test_what_is_left_of_another_version_is_neither_used_nor_kept(hub: Hub, cosmos: Cosmos) -> None:
    part = Path("checkpoints/acme/world/.base.pt.0123456789ab.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"earlier")
    assert cosmos("download", "acme/world").exit_code == 0
    assert files_in(Path("checkpoints")) == {path: FILES[path] for path in (BASE, EDGE, CONFIG)}


def test_what_is_there_is_fetched_by_nobody_and_asked_of_nobody(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cosmos("download", "parcel").exit_code == 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = cosmos("download", "parcel")
    assert (result.exit_code, result.stdout) == (0, "all files are there: checkpoints\n")
    Path("checkpoints", EDGE).unlink()
    result = cosmos("download", "parcel")
    assert result.exit_code == 2
    assert "HF_HUB_OFFLINE" in result.stderr


def test_a_folder_of_others_is_completed_and_a_short_file_fetched_again(hub: Hub, cosmos: Cosmos) -> None:
    for path, content in {BASE: FILES[BASE], EDGE: FILES[EDGE][:1000]}.items():
        Path("checkpoints", path).parent.mkdir(parents=True, exist_ok=True)
        Path("checkpoints", path).write_bytes(content)
    result = cosmos("download", "acme/world", "--json")
    assert result.exit_code == 0, result.stderr
    assert "edge.pt has not the published size" in result.json["notices"][0]
    assert set(hub.sent) == {EDGE, CONFIG}
    assert files_in(Path("checkpoints")) == {path: FILES[path] for path in (BASE, EDGE, CONFIG)}


def test_a_folder_is_fetched_with_all_that_the_hub_has_in_it(hub: Hub, cosmos: Cosmos) -> None:
    result = cosmos("download", "checked", "--json")
    assert result.exit_code == 0, result.stderr
    assert files_in(Path("checkpoints")) == LISTS_OF_WORDS
    assert [file["path"] for file in result.json["files"]] == sorted(LISTS_OF_WORDS)


def test_a_folder_is_completed_and_resumed_like_single_files(hub: Hub, cosmos: Cosmos) -> None:
    big = "acme/lists/words/more/c.bin"
    hub.cuts = {big: [50_000, 0]}
    assert cosmos("download", "checked").exit_code == 0
    assert hub.ranges == [f"{big} 50000"] * 2
    Path("checkpoints/acme/lists/words/a.txt").unlink()
    result = cosmos("download", "checked", "--json")
    assert [file["path"] for file in result.json["files"] if file["state"] == "fetched"] == ["acme/lists/words/a.txt"]
    assert files_in(Path("checkpoints")) == LISTS_OF_WORDS


def test_whether_a_folder_is_complete_is_asked_unless_that_is_forbidden(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cosmos("download", "checked").exit_code == 0
    hub.files["acme/lists/words/new.txt"] = b"three\n"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert cosmos("download", "checked").stdout == "all files are there: checkpoints\n"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert cosmos("download", "checked").stdout.startswith("1 files fetched")
    assert Path("checkpoints/acme/lists/words/new.txt").read_bytes() == b"three\n"
    assert cosmos("download", "checked").stdout == "all files are there: checkpoints\n"


def test_a_file_of_a_folder_is_verified_and_can_be_fetched_by_its_name(hub: Hub, cosmos: Cosmos) -> None:
    assert cosmos("download", "checked").exit_code == 0
    damaged = Path("checkpoints/acme/lists/words/more/b.txt")
    damaged.write_bytes(b"TWO\n")
    result = cosmos("download", "checked", "--verify", "--json")
    assert result.exit_code == 4
    [problem] = result.json["problems"]
    command = "cosmos download acme/lists/words/more/b.txt"
    assert problem["fix"] == f"Remove {damaged}, then: {command}"
    damaged.unlink()
    assert cosmos(*command.split()[1:]).exit_code == 0
    assert files_in(Path("checkpoints")) == LISTS_OF_WORDS


def test_a_folder_that_is_not_published_any_more_is_named(hub: Hub, cosmos: Cosmos) -> None:
    for path in LISTS_OF_WORDS:
        del hub.files[path]
    hub.files["acme/lists/other/a.txt"] = b"one\n"
    result = cosmos("download", "checked")
    assert result.exit_code == 4
    assert "words/ not there in revision v2." in result.stderr


@pytest.mark.parametrize("stray", ["words/../../../../stray.txt", "elsewhere/stray.txt", "/tmp/stray.txt"])
def test_a_hub_cannot_name_files_outside_of_the_folder(hub: Hub, cosmos: Cosmos, stray: str) -> None:
    hub.strays = {"acme/lists/words/a.txt": stray}
    result = cosmos("download", "checked", "--json")
    assert result.exit_code == 4
    assert stray in result.json["problems"][0]["what"]
    assert not hub.sent and not Path("checkpoints").exists()


def test_a_data_set_is_fetched_from_its_own_address(hub: Hub, cosmos: Cosmos) -> None:
    assert cosmos("download", "acme/clips").exit_code == 0
    assert files_in(Path("checkpoints")) == {path.removeprefix("datasets/"): data for path, data in CLIPS.items()}
    assert cosmos("download", "acme/clips", "--verify").stdout.startswith("3 files are the published ones")
    hub.gated = {"datasets/acme/clips"}
    result = cosmos("download", "acme/clips", "--json")
    assert f"Accept it on {hub.url}/datasets/acme/clips." in result.json["problems"][0]["fix"]


def test_the_example_data_set_is_known_without_a_family(cosmos: Cosmos) -> None:
    for name in ("nvidia/Cosmos-NeMo-Assets", "nvidia/Cosmos-NeMo-Assets/nemo_diffusion_example_data"):
        [file] = cosmos("download", name, "--dry-run", "--json").json["files"]
        assert file["path"] == "nvidia/Cosmos-NeMo-Assets/nemo_diffusion_example_data/"
