"""`cosmos download` against a Hub on loopback that behaves badly in every way we know of, through the real client."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from cosmos_cli.checkpoints.catalogue import GUARDRAILS
from tests.hub_server import TOKEN, Hub
from tests.parcel import (
    BASE,
    CLIPS,
    CONFIG,
    EDGE,
    EXTRA,
    FAST,
    FILES,
    LISTS_OF_WORDS,
    NEED,
    NEW,
    NOTES,
    PARTS,
    TEXT,
    Cosmos,
    files_in,
    parts,
    start,
)
from tests.test_architecture import HEAVY, modules_loaded_by

NEEDED = {path: FILES[path] for path in (BASE, EDGE, CONFIG, TEXT)}


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


def test_a_folder_that_cannot_lock_files_is_downloaded_to_with_one_note(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    result = cosmos("download", "parcel")
    assert result.exit_code == 0, result.stderr
    assert "checkpoints/acme/world knows no locks: take care that no other cosmos downloads to it" in result.stderr
    assert Path("checkpoints", BASE).read_bytes() == FILES[BASE]


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


def part_of(path: str) -> Path:
    """Where a file of the Hub is kept until it is complete; its folder is there."""
    target = Path("checkpoints", path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.{hashlib.sha256(FILES[path]).hexdigest()[:12]}.part")


@pytest.mark.parametrize("kind", ["link", "hard link", "loop", "dangling", "pipe"])
def test_what_lies_where_a_part_belongs_is_neither_followed_nor_filled(hub: Hub, cosmos: Cosmos, kind: str) -> None:
    victim, part = Path("victim").absolute(), part_of(TEXT)
    victim.write_bytes(b"mine")
    if kind == "pipe":
        os.mkfifo(part)
    elif kind == "hard link":
        part.hardlink_to(victim)
    else:
        part.symlink_to({"link": victim, "loop": part.absolute(), "dangling": Path("nothing").absolute()}[kind])
    assert cosmos("download", "other").exit_code == 0
    assert victim.read_bytes() == b"mine"
    assert not Path("nothing").exists()
    assert files_in(Path("checkpoints")) == {TEXT: FILES[TEXT]}


def test_a_link_in_place_of_a_file_is_replaced_and_a_folder_that_is_one_is_used(hub: Hub, cosmos: Cosmos) -> None:
    elsewhere = Path("elsewhere").absolute()
    elsewhere.mkdir()
    Path("checkpoints").symlink_to(elsewhere)
    part_of(TEXT)
    Path("checkpoints", TEXT).symlink_to(Path("nothing").absolute())
    assert cosmos("download", "other").exit_code == 0
    assert not Path("nothing").exists()
    assert files_in(elsewhere) == {TEXT: FILES[TEXT]}


def test_a_part_that_is_too_large_is_not_read(hub: Hub, cosmos: Cosmos) -> None:
    with part_of(TEXT).open("wb") as part:
        part.truncate(1 << 42)
    assert cosmos("download", "other").exit_code == 0
    assert files_in(Path("checkpoints")) == {TEXT: FILES[TEXT]}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_says_how_much_is_needed(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fsync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    result = cosmos("download", "other", "--json")
    assert (result.exit_code, result.json["error"]) == (1, "Disk full")
    assert "400,000 bytes are there" in result.json["problems"][0]["what"]


def test_a_file_in_place_of_the_folder_is_named(hub: Hub, cosmos: Cosmos) -> None:
    Path("file").write_bytes(b"")
    result = cosmos("download", "other", "--checkpoint-dir", "file")
    assert result.exit_code == 1
    assert "Not a directory" in result.stderr
    assert "Make room" not in result.stderr


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


def test_a_line_that_is_cut_again_and_again_costs_no_byte_twice(hub: Hub, cosmos: Cosmos) -> None:
    hub.cuts = {BASE: [100_000, 1_000_000, 0, 5], TEXT: [0]}
    assert cosmos("download", "parcel").exit_code == 0
    assert files_in(Path("checkpoints")) == NEEDED
    assert hub.sent == {path: len(content) for path, content in NEEDED.items()}


def test_a_server_that_falls_silent_is_asked_again(hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
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


def test_a_disk_without_room_is_noticed_before_the_first_byte(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=4_000_000))
    result = cosmos("download", "parcel")
    assert result.exit_code == 2
    assert "0.0 GB, but its disk has 0.0 GB" in result.stderr
    assert not hub.sent


def test_a_disk_that_becomes_full_keeps_what_there_is(hub: Hub, cosmos: Cosmos, packages: Path) -> None:
    full = start(packages, "parcel", limit_bytes=2_000_000)
    _, stderr = full.communicate(timeout=60)
    assert full.returncode == 1
    assert "does not fit on the disk: 2,000,000 of its 3,000,000 bytes are there, and" in stderr
    assert set(files_in(Path("checkpoints"))) - set(parts()) == {EDGE, CONFIG, TEXT}
    assert cosmos("download", "parcel").exit_code == 0
    assert files_in(Path("checkpoints")) == NEEDED
    assert hub.ranges == [f"{BASE} 2000000"]


def test_ctrl_c_leaves_what_a_second_run_goes_on_with(hub: Hub, cosmos: Cosmos, packages: Path) -> None:
    hub.pause_s = 0.05
    stopped = start(packages, "acme/world")
    until = time.monotonic() + 60
    while hub.sent.get(BASE, 0) < 500_000 and time.monotonic() < until:
        time.sleep(0.02)
    stopped.send_signal(signal.SIGINT)
    stopped.communicate(timeout=20)
    assert stopped.returncode == 130
    [part] = [path for path in parts() if ".base.pt." in path]
    assert BASE not in files_in(Path("checkpoints"))
    kept = Path("checkpoints", part).stat().st_size
    assert kept >= 300_000
    hub.pause_s = 0.0
    assert cosmos("download", "acme/world").exit_code == 0
    assert f"{BASE} {kept}" in hub.ranges
    assert files_in(Path("checkpoints")) == {path: FILES[path] for path in (BASE, EDGE, CONFIG)}


def test_two_downloads_at_once_share_the_work(hub: Hub, packages: Path) -> None:
    hub.pause_s = 0.02
    both = [start(packages, "parcel") for _ in range(2)]
    assert [(one.communicate(timeout=60), one.returncode)[1] for one in both] == [0, 0]
    assert files_in(Path("checkpoints")) == NEEDED
    assert hub.sent == {path: len(content) for path, content in NEEDED.items()}


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
