"""What the Hub's cache has is linked and not fetched; what the store of chunks has comes by its own client."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download

from tests.hub_server import Hub
from tests.parcel import BASE, CONFIG, EDGE, FILES, LISTS_OF_WORDS, TEXT, Cosmos, files_in

COMMIT = Hub({}).commit
CACHE = Path("../hf/hub")


def put_in_cache(path: str, content: bytes | None = None, *, revision: str = "v1", large: bool = True) -> Path:
    """A file as the Hub's client leaves it: content under its hash, and links to it in the snapshot of a commit."""
    organisation, name, inside = path.split("/", 2)
    folder = CACHE.absolute() / f"models--{organisation}--{name}"
    published = {**FILES, **LISTS_OF_WORDS}[path]
    git = hashlib.sha1(b"blob %d\0" % len(published) + published).hexdigest()
    blob = folder / "blobs" / (hashlib.sha256(published).hexdigest() if large else git)
    link = folder / "snapshots" / COMMIT / inside
    for place in (blob, link, folder / "refs" / revision):
        place.parent.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(COMMIT)
    blob.write_bytes(published if content is None else content)
    link.symlink_to(os.path.relpath(blob, link.parent))
    return blob


def test_what_the_cache_has_is_linked_and_only_the_rest_is_fetched(hub: Hub, cosmos: Cosmos) -> None:
    blob = put_in_cache(BASE)
    put_in_cache(CONFIG, large=False)
    states = {
        file["path"]: file["state"] for file in cosmos("download", "acme/world", "--dry-run", "--json").json["files"]
    }
    assert states == {BASE: "in the Hub's cache", EDGE: "missing", CONFIG: "in the Hub's cache"}
    result = cosmos("download", "acme/world", "--json")
    assert result.exit_code == 0, result.stderr
    assert set(hub.sent) == {EDGE}
    assert files_in(Path("checkpoints")) == {path: FILES[path] for path in (BASE, EDGE, CONFIG)}
    assert Path("checkpoints", BASE).samefile(blob)
    assert result.json["fetched_bytes"] == len(FILES[EDGE])
    assert {file["path"] for file in result.json["files"] if file["state"] == "from cache"} == {BASE, CONFIG}


@pytest.mark.parametrize("works", ["soft links", "copies"])
def test_where_links_do_not_work_the_next_best_is_done(
    hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch, works: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    blob = put_in_cache(TEXT, revision="main")
    monkeypatch.setattr(os, "link", refuse)
    if works == "copies":
        monkeypatch.setattr(os, "symlink", refuse)
    assert cosmos("download", "other").exit_code == 0
    assert not hub.sent
    target = Path("checkpoints", TEXT)
    assert target.is_symlink() == (works == "soft links")
    assert target.samefile(blob) == (works == "soft links")
    assert files_in(Path("checkpoints")) == {TEXT: FILES[TEXT]}


def test_what_is_damaged_in_the_cache_is_fetched(hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_cache(TEXT, b"x" * len(FILES[TEXT]), revision="main")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    alone = cosmos("download", "other", "--json")
    assert alone.exit_code == 4 and "is damaged" in alone.json["problems"][0]["what"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    result = cosmos("download", "other", "--json")
    assert result.exit_code == 0 and "is damaged" in result.json["notices"][0]
    assert [file["state"] for file in result.json["files"]] == ["fetched"]
    assert files_in(Path("checkpoints")) == {TEXT: FILES[TEXT]}


def test_without_a_network_the_cache_is_enough(hub: Hub, cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    put_in_cache(BASE)
    lacking = cosmos("download", "acme/world", "--json")
    assert lacking.exit_code == 2
    assert lacking.json["problems"][0]["where"] == f"{EDGE}, {CONFIG}"
    put_in_cache(EDGE)
    put_in_cache(CONFIG, large=False)
    for path in LISTS_OF_WORDS:
        put_in_cache(path, revision="v2", large=path.endswith(".bin"))
    result = cosmos("download", "acme/world", "checked")
    assert result.exit_code == 0, result.stderr
    assert files_in(Path("checkpoints")) == {**{path: FILES[path] for path in (BASE, EDGE, CONFIG)}, **LISTS_OF_WORDS}
    assert not hub.sent


def test_models_says_what_is_in_the_cache(hub: Hub, cosmos: Cosmos) -> None:
    put_in_cache(BASE)
    [big] = [model for model in cosmos("models", "--json").json["models"] if model["name"] == "parcel/big"]
    assert (big["state"], big["hub_cache_bytes"]) == ("missing", len(FILES[BASE]))
    assert "in the Hub's cache" in " ".join(cosmos("models").stdout.split())


def test_the_hubs_own_client_leaves_what_is_found(hub: Hub, cosmos: Cosmos) -> None:
    """Its layout is its own: the real client fills the cache here, if it understands this Hub."""
    hf_hub_download("acme/text", "model.bin", cache_dir=CACHE, endpoint=hub.url)
    hub.sent.clear()
    assert cosmos("download", "other").exit_code == 0
    assert not hub.sent and Path("checkpoints", TEXT).read_bytes() == FILES[TEXT]


@pytest.fixture
def store(hub: Hub, tmp_path: Path) -> Hub:
    """The Hub, which keeps the largest file in a store of chunks."""
    hf_xet = pytest.importorskip("hf_xet")
    hub.xet_store = f"local://{tmp_path / 'store'}"
    commit = hf_xet.XetSession().new_upload_commit(endpoint=hub.xet_store)
    upload = commit.start_upload_bytes(FILES[BASE], sha256=hashlib.sha256(FILES[BASE]).hexdigest())
    commit.wait_to_finish()
    hub.xet = {BASE: upload.result().xet_info.hash}
    return hub


def test_what_is_in_the_store_of_chunks_comes_from_there_and_goes_on_in_the_middle(store: Hub, cosmos: Cosmos) -> None:
    half = Path("checkpoints", BASE).with_name(f".base.pt.{hashlib.sha256(FILES[BASE]).hexdigest()[:12]}.part")
    half.parent.mkdir(parents=True)
    half.write_bytes(FILES[BASE][:1_000_000])
    result = cosmos("download", BASE)
    assert result.exit_code == 0, result.stderr
    assert files_in(Path("checkpoints")) == {BASE: FILES[BASE]}
    assert not store.sent


@pytest.mark.parametrize("fault", ["no such content", "no token"])
def test_a_store_of_chunks_that_fails_costs_nothing_but_time(store: Hub, cosmos: Cosmos, fault: str) -> None:
    if fault == "no such content":
        store.xet = {BASE: "0" * 64}
    else:
        store.raw = {"xet-read-token": (404, {}, b"")}
    result = cosmos("download", BASE)
    assert result.exit_code == 0, result.stderr
    assert files_in(Path("checkpoints")) == {BASE: FILES[BASE]}
    assert store.sent[BASE] == len(FILES[BASE])
