"""The batch engine: nothing is done twice, nothing is lost, one item's failure costs only that item."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli import output
from cosmos_cli.batch.engine import Report, left_to_do, run_batch
from cosmos_cli.batch.entries import Entry
from cosmos_cli.batch.ledger import open_ledger
from cosmos_cli.batch.manifest import Row
from cosmos_cli.batch.plan import Item, Plan, plan_batch
from cosmos_cli.errors import CosmosError, DiskFull, GuardrailBlocked, InputError
from cosmos_cli.files import identity
from cosmos_cli.files.writing import replacing
from cosmos_cli.generation.identity import work_key
from cosmos_cli.runtime.workers.share import Share
from cosmos_cli.testing import run_cosmos

LEDGER = Path("out/all.ledger.jsonl")


@dataclass(frozen=True)
class Written:
    path: Path

    def document(self) -> dict[str, str]:
        return {"video": str(self.path)}


@dataclass
class Shouter:
    """A pipeline that writes a text in capitals."""

    make_hook: Callable[[str], None] = lambda text: None
    prepare_hook: Callable[[str], None] = lambda text: None
    write_hook: Callable[[str], None] = lambda text: None
    made: list[str] = field(default_factory=list)

    def prepare(self, request: dict[str, str]) -> dict[str, str]:
        self.prepare_hook(request["text"])
        return request

    def make(self, sample: dict[str, str]) -> dict[str, str]:
        self.make_hook(sample["text"])
        self.made.append(sample["text"])
        return {**sample, "text": sample["text"].upper()}

    def write(self, made: dict[str, str]) -> Written:
        self.write_hook(made["text"])
        path = Path(made["path"])
        with replacing(path) as temporary:
            temporary.write_text(made["text"])
        return Written(path)


def plan_of(*texts: str, names: Sequence[str] | None = None) -> Plan[dict[str, str]]:
    path = Path("all.jsonl")
    rows = [{"text": text, "name": name} for text, name in zip(texts, names or texts, strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)))

    def to_item(row: Row) -> Item[dict[str, str]]:
        if not row.values["text"]:
            raise InputError("must not be empty.", where="text")
        file = Path("out") / f"{row.values['name']}.txt"
        request = {"text": row.values["text"], "path": str(file)}
        return Item(row.values["name"], row.place, row.index, request, (file,), work_key(request, []))

    return plan_batch(path, to_item)


def run(plan: Plan[dict[str, str]], worker: Shouter | None = None, **options: Any) -> Report:
    return run_batch(plan, lambda _: worker or Shouter(), ledger=LEDGER, **options)


def statuses(report: Report) -> list[str]:
    return [outcome.status for outcome in report.outcomes]


def test_every_row_becomes_a_file_and_the_report_says_so() -> None:
    report = run(plan_of("a", "b", "c"))
    assert statuses(report) == ["done"] * 3
    assert [Path(f"out/{name}.txt").read_text() for name in "abc"] == ["A", "B", "C"]
    assert report.exit_code == 0
    document = report.document()
    assert [sample["result"] for sample in document["samples"]] == [{"video": f"out/{name}.txt"} for name in "abc"]
    assert "3 of 3 done" in report.summary()


def test_a_finished_batch_loads_nothing_and_touches_nothing() -> None:
    plan = plan_of("a", "b")
    run(plan)
    before = Path("out/a.txt").stat().st_mtime_ns

    def load(_: Any) -> Shouter:
        raise AssertionError("there is nothing left to do")

    report = run_batch(plan, load, ledger=LEDGER)
    assert statuses(report) == ["done before"] * 2
    assert Path("out/a.txt").stat().st_mtime_ns == before
    assert report.document()["samples"][0]["result"] == {"video": "out/a.txt"}


def test_what_is_left_is_known_before_anything_is_written() -> None:
    plan = plan_of("a", "b")
    assert left_to_do(plan, ledger=LEDGER) == list(plan.items)
    assert not LEDGER.parent.exists()
    run(plan_of("a"))
    assert left_to_do(plan, ledger=LEDGER) == [plan.items[1]]
    LEDGER.chmod(0o444)
    assert left_to_do(plan, ledger=LEDGER, overwrite=True) == list(plan.items)


def test_a_finished_item_whose_file_was_deleted_is_made_again() -> None:
    run(plan_of("a", "b"))
    Path("out/b.txt").unlink()
    worker = Shouter()
    assert statuses(run(plan_of("a", "b"), worker)) == ["done before", "done"]
    assert worker.made == ["b"]


def test_a_row_that_changed_is_new_work_and_does_not_replace_the_old_unasked() -> None:
    run(plan_of("a", "b", names="xy"))
    worker = Shouter()
    report = run(plan_of("a", "c", names="xy"), worker)
    assert statuses(report) == ["done before", "failed"]
    assert "out/y.txt exists already" in report.outcomes[1].error
    assert Path("out/y.txt").read_text() == "B"
    assert statuses(run(plan_of("a", "c", names="xy"), overwrite=True)) == ["done", "done"]
    assert Path("out/y.txt").read_text() == "C"


def test_wrong_rows_are_named_and_cost_only_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    output.configure(speaking=True)
    report = run(plan_of("a", "", "b"))
    output.configure(speaking=False)
    assert statuses(report) == ["done", "failed", "done"]
    assert report.exit_code == 1
    assert report.outcomes[1].place == "all.jsonl line 2"
    assert "wrong row: all.jsonl line 2, text: must not be empty." in capsys.readouterr().err


def test_two_rows_for_one_file_are_told_apart_by_their_lines() -> None:
    plan = plan_of("a", "b", names=["same", "same"])
    [fault] = plan.faults
    assert "writes out/same.txt, as all.jsonl line 1 does" in str(fault.problems[0])
    assert statuses(run(plan)) == ["done", "failed"]
    assert Path("out/same.txt").read_text() == "A"


def test_without_one_good_row_nothing_runs_and_all_faults_are_listed() -> None:
    with pytest.raises(InputError) as raised:
        plan_of("", "")
    assert [problem.where for problem in raised.value.problems] == ["all.jsonl line 1, text", "all.jsonl line 2, text"]


@pytest.mark.parametrize("step", ["prepare_hook", "make_hook", "write_hook"])
def test_an_error_in_any_step_costs_only_its_item_and_is_tried_again(step: str) -> None:
    def fail(text: str) -> None:
        if text.lower() == "b":
            raise RuntimeError("out of luck")

    worker = Shouter()
    setattr(worker, step, fail)
    report = run(plan_of("a", "b", "c"), worker)
    assert statuses(report) == ["done", "failed", "done"]
    assert report.outcomes[1].error == "RuntimeError: out of luck"
    assert report.exit_code == 1
    assert not list(Path("out").glob(".*"))
    again = Shouter()
    assert statuses(run(plan_of("a", "b", "c"), again)) == ["done before", "done", "done before"]
    assert again.made == ["b"]


@pytest.mark.parametrize("step", ["prepare", "make", "write"])
def test_a_full_disk_is_no_fault_of_the_item_and_ends_the_batch(step: str) -> None:
    def fill(text: str) -> None:
        if text in ("b", "B"):
            raise DiskFull("No room.", where="the disk")

    worker = Shouter(**{f"{step}_hook": fill})  # type: ignore[arg-type]
    with pytest.raises(DiskFull, match="No room"):
        run(plan_of("a", "b", "c", "d"), worker)
    assert "d" not in worker.made
    assert [path.name for path in Path("out").glob("*.txt")] == ["a.txt"]
    with open_ledger(LEDGER) as ledger:
        told = {entry.name: entry.status for entry in ledger.entries()}
    assert (told["a"], told["b"], told["d"]) == ("done", "started", "waiting")
    assert statuses(run(plan_of("a", "b", "c", "d"))) == ["done before", "done", "done", "done"]


def test_a_block_has_its_own_exit_code_unless_something_failed_too() -> None:
    def refuse(text: str) -> None:
        if text == "b":
            raise GuardrailBlocked("holds a word.", where="guardrail words")
        if text == "c":
            raise CosmosError("broke.")

    blocked = run(plan_of("a", "b"), Shouter(make_hook=refuse))
    assert statuses(blocked) == ["done", "blocked"]
    assert blocked.exit_code == 3
    assert "holds a word" in blocked.summary()
    assert run(plan_of("a", "b", "c"), Shouter(make_hook=refuse)).exit_code == 1


def test_if_all_that_is_left_is_blocked_before_anything_loads_every_row_has_its_line() -> None:
    def refuse(_: Any) -> Shouter:
        raise GuardrailBlocked("the list forbids 'b'.", where="guardrail words")

    run(plan_of("a"))
    report = run_batch(plan_of("a", "b", "c"), refuse, ledger=LEDGER)
    assert statuses(report) == ["done before", "blocked", "blocked"]
    assert report.exit_code == 3
    assert "the list forbids 'b'" in report.summary()
    assert statuses(run_batch(plan_of("a", "", "c"), refuse, ledger=LEDGER)) == ["done before", "failed", "blocked"]
    assert run_batch(plan_of("a", "", "c"), refuse, ledger=LEDGER).exit_code == 1
    assert statuses(run(plan_of("a", "b", "c"))) == ["done before", "done", "done"]


def test_the_next_is_prepared_and_the_last_is_written_while_one_is_made() -> None:
    """Each step of a neighbour must begin before the present one may go on; one after the other would wait for ever."""
    prepared, written = threading.Event(), threading.Event()

    def prepare(text: str) -> None:
        if text == "c":
            prepared.set()

    def write(text: str) -> None:
        if text == "A":
            written.set()

    def make(text: str) -> None:
        if text == "b":
            assert prepared.wait(20)
            assert written.wait(20)

    report = run(plan_of("a", "b", "c"), Shouter(make_hook=make, prepare_hook=prepare, write_hook=write))
    assert statuses(report) == ["done"] * 3


def test_at_most_one_item_waits_in_each_step() -> None:
    """However long the batch: what bounds its memory."""
    alive, most = set(), [0]
    lock = threading.Lock()

    def begin(text: str) -> None:
        with lock:
            alive.add(text.lower())
            most[0] = max(most[0], len(alive))

    def end(text: str) -> None:
        time.sleep(0.002)
        with lock:
            alive.discard(text.lower())

    names = [f"n{i}" for i in range(30)]
    run(plan_of(*names), Shouter(prepare_hook=begin, write_hook=end))
    assert most[0] <= 3


def test_notices_stay_with_their_item() -> None:
    notices: dict[str, list[str]] = {}

    class Noticing(Shouter):
        def write(self, made: dict[str, str]) -> Written:
            output.notice("written")
            notices[made["text"]] = output.notices()
            return super().write(made)

    worker = Noticing(
        prepare_hook=lambda text: output.notice(f"prepared {text}"), make_hook=lambda _: output.notice("m")
    )
    run(plan_of("a", "b"), worker)
    assert notices == {"A": ["prepared a", "m", "written"], "B": ["prepared b", "m", "written"]}


def test_a_batch_in_use_is_refused() -> None:
    with open_ledger(LEDGER), pytest.raises(InputError, match="another process works on this batch"):
        run(plan_of("a"))


def test_a_ledger_cut_short_in_the_middle_of_a_line_goes_on() -> None:
    run(plan_of("a", "b"))
    content = LEDGER.read_bytes()
    LEDGER.write_bytes(content[: content.rindex(b"\n", 0, content.rindex(b'{"marks"') - 1) + 20])
    run(plan_of("a", "b", "c"))
    with open_ledger(LEDGER) as ledger:
        assert [ledger[item.key].status for item in plan_of("a", "b", "c").items] == ["done", "written", "done"]  # type: ignore[union-attr]


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    code = """
    import os, sys, time
    from pathlib import Path
    from cosmos_cli.files.writing import replacing
    with replacing(Path("out/a.txt")) as temporary:
        temporary.write_text("half")
        print("ready", flush=True)
        time.sleep(60)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    [left] = Path("out").glob(".cosmos-*.part.txt")
    with replacing(Path("out/a.txt")) as temporary:  # another writer's file stays while that one runs
        temporary.write_text("mine")
    assert left.exists()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run(plan_of("b", names=["a"]), overwrite=True)
    assert [path.name for path in Path("out").iterdir() if path.name.startswith(".")] == []


def test_a_batch_that_is_stopped_claims_nothing_any_more_and_goes_on_later() -> None:
    def stop(text: str) -> None:
        if text == "b":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan_of("a", "b", "c"), Shouter(stop))
    assert [path.name for path in Path("out").iterdir() if path.name.startswith(".")] == []
    assert statuses(run(plan_of("a", "b", "c"))) == ["done before", "done", "done"]


def test_entries_survive_a_round_trip() -> None:
    entry = Entry("key", "name", "failed", "Straße: kaputt", 1.5, {"video": "a.mp4"})
    with open_ledger(LEDGER) as ledger:
        ledger.write(entry)
    with open_ledger(LEDGER) as ledger:
        found = ledger["key"]
    assert found is not None
    assert (found.error, found.seconds, found.result) == ("Straße: kaputt", 1.5, {"video": "a.mp4"})


@pytest.mark.parametrize("damage", ["truncated", "other content"])
def test_a_finished_file_that_is_no_longer_what_was_written_is_made_again(damage: str) -> None:
    run(plan_of("aa", "b"))
    Path("out/aa.txt").write_text("A" if damage == "truncated" else "XX")
    worker = Shouter()
    report = run(plan_of("aa", "b"), worker)
    # what has other content may be somebody's work
    assert statuses(report) == ["failed", "done before"]
    assert "exists already, and not from this row" in report.outcomes[0].error
    assert statuses(run(plan_of("aa", "b"), worker, overwrite=True)) == ["done", "done"]
    assert Path("out/aa.txt").read_text() == "AA"


def read_by(monkeypatch: pytest.MonkeyPatch, resume: Callable[[], object]) -> list[str]:
    """The files whose content somebody looks at meanwhile."""
    read: list[str] = []
    digest = identity.digest
    with monkeypatch.context() as patched:
        patched.setattr(identity, "digest", lambda path: (read.append(path.name), digest(path))[1])
        resume()
    return sorted(read)


def test_finished_files_are_read_only_where_they_may_have_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def resume(*expected: str) -> list[str]:
        return read_by(monkeypatch, lambda: told.append(statuses(run(plan_of("aa", "bb", "cc"))) == [*expected]))

    told: list[bool] = []
    done = ("done before",) * 3
    run(plan_of("aa", "bb", "cc"))
    assert resume(*done) == []
    os.utime("out/bb.txt", (1, 1))
    assert resume(*done) == ["bb.txt"]
    assert resume(*done) == []
    # a ledger of an earlier version, and a folder that was copied without its times
    LEDGER.write_bytes(b"".join(line for line in LEDGER.read_bytes().splitlines(True) if b'"marks"' not in line))
    assert resume(*done) == ["aa.txt", "bb.txt", "cc.txt"]
    assert resume(*done) == []
    # as long as before, and with its old time
    status = Path("out/bb.txt").stat()
    Path("out/bb.txt").write_text("XX")
    os.utime("out/bb.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "bb.txt" in resume("done before", "failed", "done before")
    assert told == [True] * 6


class ShouterWithCopy(Shouter):
    """Writes a second file, as kinds do that have sidecars."""

    def write(self, made: dict[str, str]) -> Written:
        written = super().write(made)
        with replacing(written.path.with_suffix(".copy")) as temporary:
            temporary.write_text(made["text"])
        return written


def _with_copies(plan: Plan[dict[str, str]]) -> Plan[dict[str, str]]:
    items = [replace(item, files=(*item.files, item.files[0].with_suffix(".copy"))) for item in plan.items]
    return replace(plan, items=tuple(items))


@pytest.mark.parametrize("again", ["at once", "after a failure", "after a death"])
@pytest.mark.parametrize("damaged", ["out/a.txt", "out/a.copy"])
def test_an_item_of_which_one_file_is_damaged_is_made_again(damaged: str, again: str) -> None:
    plan = _with_copies(plan_of("a", "b"))
    run(plan, ShouterWithCopy())
    Path(damaged).write_text("")

    def fail(text: str) -> None:
        raise RuntimeError(text) if again == "after a failure" else KeyboardInterrupt

    if again != "at once":
        with contextlib.suppress(KeyboardInterrupt):
            run(plan, ShouterWithCopy(fail))
    assert statuses(run(plan, ShouterWithCopy())) == ["done", "done before"]
    assert Path("out/a.txt").read_text() == Path("out/a.copy").read_text() == "A"


def test_another_batch_with_the_same_output_neither_replaces_it_nor_is_taken_for_it() -> None:
    run(plan_of("a", names=["x"]))
    other = run_batch(plan_of("b", names=["x"]), lambda _: Shouter(), ledger=Path("out/other.ledger.jsonl"))
    assert statuses(other) == ["failed"]
    run_batch(plan_of("b", names=["x"]), lambda _: Shouter(), ledger=Path("out/other.ledger.jsonl"), overwrite=True)
    report = run(plan_of("a", names=["x"]))
    assert statuses(report) == ["failed"]
    assert Path("out/x.txt").read_text() == "B"


def test_two_batches_at_once_with_one_output_make_it_once() -> None:
    others: list[Report] = []

    def meanwhile(text: str) -> None:
        if text == "a" and not others:
            others.append(run_batch(plan, lambda _: Shouter(), ledger=Path("out/other.ledger.jsonl")))

    plan = plan_of("a", "b", names="xy")
    report = run(plan, Shouter(make_hook=meanwhile))
    assert statuses(others[0]) == ["failed", "done"]
    assert f"process {os.getpid()} on" in others[0].outcomes[0].error
    assert statuses(report) == ["done", "failed"]
    assert "out/y.txt exists already" in report.outcomes[1].error


def test_what_somebody_puts_there_while_a_row_is_made_is_kept() -> None:
    report = run(plan_of("a", "b"), Shouter(make_hook=lambda text: Path(f"out/{text}.txt").write_text("precious")))
    assert statuses(report) == ["failed"] * 2
    assert "exists already, and not from this row" in report.outcomes[0].error
    assert Path("out/a.txt").read_text() == Path("out/b.txt").read_text() == "precious"


def test_two_rows_through_a_linked_folder_are_one_file() -> None:
    Path("out").mkdir()
    Path("out/linked").symlink_to(".")
    plan = plan_of("a", "b", names=["same", "linked/same"])
    assert "as all.jsonl line 1 does" in str(plan.faults[0].problems[0])


def test_what_is_done_stays_done_where_the_folder_is_moved_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(plan_of("a", "b"))
    moved = Path.cwd().rename(tmp_path / "moved")
    monkeypatch.chdir(moved)
    assert statuses(run(plan_of("a", "b"))) == ["done before"] * 2


@pytest.mark.parametrize("again", [True, False])
def test_an_output_folder_that_is_moved_in_mid_run_ends_it_with_what_was_finished(again: bool) -> None:
    def move(text: str) -> None:
        if text == "b":
            while '"done"' not in LEDGER.read_text():
                time.sleep(0.01)
            Path("out").rename("elsewhere")
            if again:
                Path("out").mkdir()

    with pytest.raises(CosmosError, match="was moved or removed while cosmos worked for it"):
        run(plan_of("a", "b", "c"), Shouter(make_hook=move))
    if again:
        Path("out").rmdir()
    Path("elsewhere").rename("out")
    assert statuses(run(plan_of("a", "b", "c"))) == ["done before", "done", "done"]
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "a.txt",
        "all.ledger.jsonl",
        "b.txt",
        "c.txt",
        "report.html",
    ]


BAD_LINES: dict[str, bytes] = {
    "deep": b"[" * 100_000,
    "digits": b'{"key": "k", "name": "n", "status": "done", "seconds": ' + b"9" * 5000 + b"}",
    "not UTF-8": b'{"key": "\xff"}',
    "no object": b"[1, 2]",
    "no entry": b'{"key": "k"}',
    "a list as key": b'{"key": [], "name": "n", "status": "done"}',
    "a number as name": b'{"key": "k", "name": 5, "status": "done"}',
    "another status": b'{"key": "k", "name": "n", "status": "fine"}',
    "a list as result": b'{"key": "k", "name": "n", "status": "done", "result": []}',
    "files of another shape": b'{"key": "k", "name": "n", "status": "done", "files": {"a.txt": 3}}',
    "endless": b'"' + b"x" * (3 << 20),
}


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_bad_line_of_a_ledger_costs_itself_only(place: str) -> None:
    run(plan_of("a", "b"))
    bad = b"\n".join(BAD_LINES.values()) + b"\n"
    content = LEDGER.read_bytes()
    LEDGER.write_bytes(bad + content if place == "before" else content + bad)
    worker = Shouter()
    report = run(plan_of("a", "b", "c"), worker)
    assert statuses(report) == ["done before", "done before", "done"]
    assert worker.made == ["c"]
    json.dumps(report.document())


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_about_a_row_is_as_good_as_none(name: str) -> None:
    plan = plan_of("a")
    LEDGER.parent.mkdir()
    LEDGER.write_bytes(BAD_LINES[name].replace(b'"k"', json.dumps(plan.items[0].key).encode()))
    assert statuses(run(plan)) == ["done"]


def test_a_ledger_that_is_no_file_is_refused() -> None:
    for make in (LEDGER.mkdir, lambda: os.mkfifo(LEDGER)):
        LEDGER.parent.mkdir(exist_ok=True)
        make()
        with pytest.raises(InputError, match="is not a file, so that no ledger can be kept there"):
            run(plan_of("a"))
        if LEDGER.is_dir():
            LEDGER.rmdir()


def test_an_output_that_is_called_as_a_password_is_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "street")
    assert statuses(run(plan_of("a", names=["street"]))) == ["done"]
    assert statuses(run(plan_of("a", names=["street"]))) == ["done before"]
    monkeypatch.delenv("DB_PASSWORD")
    assert statuses(run(plan_of("a", names=["street"]))) == ["done before"]


def test_a_name_that_is_not_utf_8_is_known_again() -> None:
    name = os.fsdecode(b"caf\xe9")
    assert statuses(run(plan_of("a", names=[name]))) == ["done"]
    assert b"caf\\udce9" in LEDGER.read_bytes()
    assert statuses(run(plan_of("a", names=[name]))) == ["done before"]


def test_shares_of_a_batch_know_what_others_have_made_however_it_is_divided() -> None:
    plan = plan_of(*"abcde")
    worker = Shouter()
    assert [o.name for o in run(plan, worker, share=Share(2, 3)).outcomes] == ["b", "e"]
    assert worker.made == ["b", "e"]
    assert left_to_do(plan, ledger=LEDGER) == [plan.items[0], plan.items[2], plan.items[3]]
    odd = Shouter()
    assert statuses(run(plan, odd, share=Share(1, 2))) == ["done", "done", "done before"]
    assert odd.made == ["a", "c"]
    whole = Shouter()
    assert statuses(run(plan, whole)) == ["done before", "done before", "done before", "done", "done before"]
    assert whole.made == ["d"]
    # what one has lost another makes again, and then all know of the new file
    Path("out/b.txt").unlink()
    assert statuses(run(plan, share=Share(1, 1))).count("done") == 1
    assert statuses(run(plan, share=Share(2, 3))) == ["done before", "done before"]
    told = run_cosmos("batch", "status", "out", "--json").json
    assert len(told["batches"]) == 4


def test_two_shares_that_run_at_once_do_not_lock_each_other_out_and_one_share_runs_once() -> None:
    plan = plan_of("a", "b")
    seen: list[str] = []

    def hook(text: str) -> None:
        if not seen:
            seen.append(text)
            assert statuses(run(plan, share=Share(2, 2))) == ["done"]
            with pytest.raises(InputError, match="another process works on this batch"):
                run(plan, share=Share(1, 2))

    assert statuses(run(plan, Shouter(make_hook=hook), share=Share(1, 2))) == ["done"]
    assert seen == ["a"]
