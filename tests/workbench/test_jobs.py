"""The queue survives a restart, and nothing in its file leads elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.workbench.jobs import NAME, Job, Jobs


def job(number: int, what: str = "make") -> Job:
    return Job(id=number, what=what, kind="transfer run", folder=f"out/{number}")  # type: ignore[arg-type]


def test_what_an_earlier_version_has_queued_is_of_the_kind_that_its_family_had() -> None:
    Path("out").mkdir()
    line = {"id": 1, "what": "make", "family": "transfer", "folder": "out/1", "status": "queued"}
    other = {**line, "id": 2, "family": "drift", "folder": "out/2"}
    Path("out", NAME).write_text("".join(f"{json.dumps(each)}\n" for each in (line, other)))
    jobs = Jobs(Path("out"), ["nemo run", "transfer run", "transfer guided"])
    assert [(each.id, each.kind) for each in jobs.all()] == [(1, "transfer run"), (2, "drift")]
    jobs.close()


def restarted(jobs: Jobs) -> Jobs:
    jobs.close()
    return Jobs(Path("out"))


def test_what_was_queued_done_and_forgotten_is_so_after_a_restart() -> None:
    jobs = Jobs(Path("out"))
    for number in range(1, 5):
        jobs.add(job(number))
    jobs.add(job(5, "look"))
    jobs.change(1, status="done", files={"video": "output.mp4"}, seconds=2.5)
    jobs.fail(2, CosmosError("broke.", where="here", fix="Mend it."))
    jobs.change(3, status="done")
    jobs.forget(3)
    jobs.change(4, status="done")
    jobs.forget(4)
    assert jobs.next_id == 6  # no number comes twice: the worker may still know that the one before was cancelled
    jobs.add(job(6))
    jobs = restarted(jobs)
    assert [(each.id, each.status) for each in jobs.all()] == [(1, "done"), (2, "failed"), (6, "queued")]
    assert jobs[1].files == {"video": "output.mp4"} and jobs[1].folder == "out/1"
    assert jobs[2].problems == [{"what": "broke.", "where": "here", "fix": "Mend it."}]
    assert jobs.next_id == 7
    jobs.close()


def test_what_ran_when_the_workbench_died_runs_once_more_and_then_fails() -> None:
    jobs = Jobs(Path("out"))
    jobs.add(job(1))
    for starts, status in ((1, "queued"), (2, "failed")):
        jobs.change(1, status="running", num_starts=starts)
        jobs = restarted(jobs)
        assert jobs[1].status == status
    assert "ended 2 times" in jobs[1].problems[0]["what"]
    jobs.close()


def test_looks_go_before_videos_and_videos_in_their_order() -> None:
    jobs = Jobs(Path("out"))
    for number, what in ((1, "make"), (2, "make"), (3, "look")):
        jobs.add(job(number, what))
    order = []
    while (waiting := jobs.waiting()) is not None:
        order.append(waiting.id)
        jobs.change(waiting.id, status="done")
    assert order == [3, 1, 2]
    jobs.close()


def test_a_torn_or_foreign_line_costs_itself_alone_and_leads_nowhere() -> None:
    Path("out").mkdir()
    good = {"id": 1, "what": "make", "kind": "transfer run", "folder": "/etc/1", "status": "queued", "unknown": 1}
    lines = [json.dumps(good), '{"id": 2', "7", json.dumps({**good, "id": 3, "status": "odd"}), json.dumps({"id": "x"})]
    lines += ['{"id": [1], "forgotten": true}', '{"forgotten": 1}']
    Path("out", NAME).write_text("\n".join(lines))
    jobs = Jobs(Path("out"))
    assert [(each.id, each.folder) for each in jobs.all()] == [(1, "out/1")]
    jobs.close()


def test_a_second_workbench_in_the_same_folder_is_told() -> None:
    jobs = Jobs(Path("out"))
    with pytest.raises(InputError, match="another workbench"):
        Jobs(Path("out"))
    jobs.close()
    Jobs(Path("out")).close()
