"""`cosmos batch status`: what is known of every item, while a batch runs and after it was stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosmos_cli.batch.entries import Entry
from cosmos_cli.batch.ledger import open_ledger
from cosmos_cli.testing import run_cosmos

LEDGER = Path("out/drives.ledger.jsonl")


def test_items_are_told_while_the_batch_runs_and_after_it_was_stopped() -> None:
    with open_ledger(LEDGER) as ledger:
        for entry in (
            Entry("1", "dawn", "started"),
            Entry("1", "dawn", "written", seconds=2.5),
            Entry("1", "dawn", "done", seconds=3.0),
            Entry("2", "noon", "started"),
            Entry("2", "noon", "failed", "the disk is full", 1.0),
            Entry("3", "dusk", "started"),
        ):
            ledger.write(entry)
        [running] = run_cosmos("batch", "status", "out", "--json").json["batches"]

    statuses = {item["name"]: item["status"] for item in running["items"]}
    assert (running["runs"], statuses) == (True, {"dawn": "done", "noon": "failed", "dusk": "being made"})
    assert running["counts"] == {"done": 1, "failed": 1, "being made": 1}

    [stopped] = run_cosmos("batch", "status", LEDGER, "--json").json["batches"]
    assert (stopped["runs"], stopped["items"][2]["status"]) == (False, "stopped")

    told = run_cosmos("batch", "status", "out").stdout
    assert "does not run now: 1 done, 1 failed, 1 stopped" in told
    assert "the disk is full" in told


def test_to_look_keeps_nobody_from_beginning() -> None:
    with open_ledger(LEDGER) as ledger:
        ledger.write(Entry("1", "dawn", "started"))
    before = LEDGER.read_bytes()
    assert run_cosmos("batch", "status", "out").exit_code == 0
    with open_ledger(LEDGER):
        pass
    assert LEDGER.read_bytes() == before


@pytest.mark.parametrize("place", ["nothing", "empty", "notes.txt"])
def test_a_place_without_a_ledger_is_named(place: str) -> None:
    Path("empty").mkdir()
    Path("notes.txt").write_text("no ledger")
    failed = run_cosmos("batch", "status", place)
    assert (failed.exit_code, place in failed.stderr) == (2, True)
