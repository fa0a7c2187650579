"""Batches whose rows, inputs, outputs and ledger lie in an object store: one in memory, and S3 on this machine."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from cosmos_cli.batch import lease, lines
from cosmos_cli.batch.engine import Report, run_batch
from cosmos_cli.batch.ledger import find_ledgers, is_in_use, read_ledger
from cosmos_cli.batch.manifest import Row
from cosmos_cli.batch.page import write_page
from cosmos_cli.batch.plan import Item, Plan, plan_batch
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files import outputs, store_service
from cosmos_cli.files.makers import new_name
from cosmos_cli.files.stores import StorePath, copies_folder, stored
from cosmos_cli.files.writing import replacing
from cosmos_cli.generation.identity import work_key
from cosmos_cli.media.image import write_png
from cosmos_cli.runtime.workers.share import Share
from cosmos_cli.testing import CommandResult
from tests.batch.test_engine import Shouter, Written, read_by, statuses
from tests.clips import encode, moving_gradient
from tests.stores import empty_store
from tests.waiting import PATIENCE_S, until

Cosmos = Callable[..., CommandResult]


# With a store of this process


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Any]:
    with empty_store(tmp_path / "copies") as files:
        yield files


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that end sooner."""
    for name, seconds in (("_RENEW_S", 0.1), ("_PATIENCE_S", 0.5), ("_LOOK_S", 0.05), ("_SETTLE_S", 0.01)):
        monkeypatch.setattr(lease, name, seconds)


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the death of another waits longer than this process, however loaded, is silent."""
    monkeypatch.setattr(lease, "_PATIENCE_S", PATIENCE_S)


def told_by(place: Path) -> Any:
    """How often the owner of a batch has said that it has it."""
    return json.loads(place.read_bytes())["count"]


def at(name: str) -> StorePath:
    path = stored(Path(f"memory://bucket/{name}"))
    assert isinstance(path, StorePath)
    return path


class FarShouter(Shouter):
    """Writes into the store: what it shouts, and how long that is."""

    def write(self, made: dict[str, str]) -> Written:
        self.write_hook(made["text"])
        path = stored(Path(made["path"]))
        with replacing(path) as temporary:
            temporary.write_text(made["text"])
        with replacing(path.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps({"length": len(made["text"])}))
        return Written(path)


def plan_of(*texts: str) -> Plan[dict[str, str]]:
    rows = at("in/all.jsonl")
    rows.write_bytes("\n".join(json.dumps({"text": text}) for text in texts).encode())

    def to_item(row: Row) -> Item[dict[str, str]]:
        text = row.values["text"]
        request = {"text": text, "path": str(at(f"out/{text}.txt"))}
        files = (at(f"out/{text}.txt"), at(f"out/{text}.json"))
        return Item(text, row.place, row.index, request, files, work_key(request, []))

    return plan_batch(rows, to_item, folder=at("out"))


LEDGER = "out/all.ledger.jsonl"


def run(plan: Plan[dict[str, str]], worker: Shouter | None = None, **options: Any) -> Report:
    return run_batch(plan, lambda _: worker or FarShouter(), ledger=at(LEDGER), **options)


def in_out(memory: Any) -> list[str]:
    """Names of what lies in the output folder, without the ledger."""
    names = [name.removeprefix("/bucket/out/") for name in memory.store if "/out/" in name]
    return sorted(name for name in names if "ledger" not in name)


WHOLE = ["a.json", "a.txt", "b.json", "b.txt", "c.json", "c.txt", "report.html"]


def test_a_batch_in_a_store_goes_on_and_makes_again_what_was_lost(memory: Any) -> None:
    plan = plan_of("a", "b", "c")

    def stop(text: str) -> None:
        if text == "b":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, FarShouter(stop))
    assert in_out(memory) == ["a.json", "a.txt", "report.html"]
    assert statuses(run(plan)) == ["done before", "done", "done"]
    assert in_out(memory) == WHOLE
    assert memory.cat("/bucket/out/b.txt") == b"B"
    at("out/a.json").unlink()
    at("out/b.txt").write_bytes(b"damaged")
    assert statuses(run(plan)) == ["done", "done", "done before"]
    assert [memory.cat(f"/bucket/out/{name}.txt") for name in "abc"] == [b"A", b"B", b"C"]
    assert not is_in_use(at(LEDGER))
    assert find_ledgers(at("out")) == [at(LEDGER)]
    assert [entry.status for entry in read_ledger(at(LEDGER)).entries()] == ["done"] * 3


def test_files_of_others_stay_and_remains_of_ones_own_go(memory: Any) -> None:
    at("out/a.txt").write_bytes(b"somebody's")
    start = ".cosmos-" + "0" * 16 + "-"
    theirs = at(f"out/{new_name(start, '.txt')}")
    theirs.write_bytes(b"half")
    with pytest.raises(RuntimeError, match="died"), replacing(at("out/b.txt")):
        raise RuntimeError("died")
    report = run(plan_of("a", "b"))
    assert statuses(report) == ["failed", "done"]
    assert "exists already, and not from this row" in report.outcomes[0].error
    assert at("out/a.txt").read_bytes() == b"somebody's"
    assert theirs.exists()
    assert statuses(run(plan_of("a", "b"), overwrite=True)) == ["done", "done"]
    assert at("out/a.txt").read_bytes() == b"A"


def test_a_ledger_of_many_parts_tells_all_and_a_damaged_part_costs_itself(
    memory: Any, monkeypatch: pytest.MonkeyPatch, cosmos: Cosmos
) -> None:
    monkeypatch.setattr(lines, "_PART_BYTES", 300)
    texts = [f"item{number}" for number in range(8)]
    assert statuses(run(plan_of(*texts))) == ["done"] * 8
    parts = sorted(at(LEDGER).glob("*.jsonl"))
    assert len(parts) > 4
    assert statuses(run(plan_of(*texts))) == ["done before"] * 8
    told = cosmos("batch", "status", "memory://bucket/out", "--json").json["batches"]
    assert [batch["counts"] for batch in told] == [{"done": 8}]
    assert cosmos("batch", "status", f"memory://bucket/{LEDGER}", "--json").json["batches"] == told
    page = cosmos("batch", "report", "memory://bucket/out", "--json").json["report"]
    assert page == "memory://bucket/out/report.html"
    assert b"item7" in at("out/report.html").read_bytes()
    parts[-1].write_bytes(parts[-1].read_bytes()[:-40])
    again = statuses(run(plan_of(*texts)))
    assert again.count("done before") in (6, 7, 8)
    assert again.count("failed") == 0
    assert cosmos("batch", "status", "memory://bucket/none").exit_code == 2


def test_shares_have_ledgers_of_their_own_and_know_each_other(memory: Any) -> None:
    plan = plan_of("a", "b", "c")
    assert statuses(run(plan, share=Share(1, 2))) == ["done", "done"]
    assert statuses(run(plan, share=Share(2, 2))) == ["done"]
    assert statuses(run(plan)) == ["done before"] * 3
    assert write_page(at("out")) == at("out/report.html")


def test_a_share_copies_the_inputs_of_its_own_rows_alone(memory: Any) -> None:
    for number in range(4):
        at(f"in/{number}.mp4").write_bytes(b"%d" % number)
    rows = at("in/rows.jsonl")
    rows.write_bytes(b"\n".join(b'{"visual_input": "%d.mp4"}' % number for number in range(4)) + b"\n{}")
    read: list[int] = []

    def to_item(row: Row) -> Item[dict[str, str]]:
        read.append(row.index)
        if not (name := row.values.get("visual_input")):
            raise InputError("is required.", where="visual_input")
        files = (at(f"out/{name}"),)
        return Item(name, row.place, row.index, {}, files, work_key({}, [at(f"in/{name}")]))

    plan = plan_batch(rows, to_item, folder=at("out"), share=Share(2, 3))
    assert [item.index for item in plan.items] == [1]
    assert read == [1, 4]
    assert [fault.index for fault in plan.faults] == [4]
    copied = [file for file in copies_folder().iterdir() if file.is_file() and file.suffix == ".mp4"]
    assert [file.read_bytes() for file in copied] == [b"1"]
    assert plan_batch(rows, to_item, folder=at("out"), share=Share(5, 5)).items == ()


def test_a_batch_is_one_processs_until_that_ends_or_is_silent(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = at("out/.all.ledger.jsonl.lock")
    be_patient(monkeypatch)
    plan = plan_of("a", "b")
    refused: list[str] = []

    def second(text: str) -> None:
        until(lambda: told_by(place) > 1)  # the first has said that it is still there
        assert is_in_use(at(LEDGER))
        try:
            run(plan_of("a", "b"))
        except InputError as error:
            refused.append(str(error))

    assert statuses(run(plan, FarShouter(second))) == ["done", "done"]
    assert ["another process works on this batch" in text for text in refused] == [True, True]
    assert not place.exists()

    # of a process here that has died: at once
    died = new_name("", "").replace(f"-{os.getpid()}-", "-999999999-")
    place.write_bytes(json.dumps({"token": died, "host": "here", "pid": 1, "count": 3}).encode())
    assert not is_in_use(at(LEDGER))
    start = time.monotonic()
    assert statuses(run(plan)) == ["done before"] * 2
    assert time.monotonic() - start < PATIENCE_S
    # of another machine, of which nothing is heard
    monkeypatch.setattr(lease, "_PATIENCE_S", 0.5)
    place.write_bytes(json.dumps({"token": "0-1-2.part", "host": "there", "pid": 1, "count": 3}).encode())
    assert is_in_use(at(LEDGER))
    start = time.monotonic()
    assert statuses(run(plan)) == ["done before"] * 2
    assert time.monotonic() - start > 0.5
    # something else under that name is no lease
    place.write_bytes(b"[]")
    assert statuses(run(plan)) == ["done before"] * 2


def test_of_two_that_begin_at_once_one_has_the_batch(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch)
    plan, told, write = plan_of("a"), list[str](), lease.Lease._write
    both, one_is_refused = threading.Barrier(2), threading.Event()

    def write_at_once(self: lease.Lease) -> None:
        if self._count:
            write(self)
            return
        both.wait(PATIENCE_S)  # have found nobody
        write(self)
        both.wait(PATIENCE_S)  # have written

    monkeypatch.setattr(lease.Lease, "_write", write_at_once)

    def begin() -> None:
        try:
            told.append(statuses(run(plan, FarShouter(lambda _: one_is_refused.wait(PATIENCE_S))))[0])
        except InputError:
            told.append("refused")
            one_is_refused.set()

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["done", "refused"]


def test_who_has_lost_a_batch_writes_no_more_of_it(memory: Any) -> None:
    place, other = at("out/.all.ledger.jsonl.lock"), b'{"token": "0-1-2.part", "host": "there", "pid": 1, "count": 9}'

    def take_over(text: str) -> None:
        place.write_bytes(other)
        until(lambda: not any(thread.name == "lease" for thread in threading.enumerate()))  # it has seen that

    with pytest.raises(CosmosError, match="taken over by another process"):
        run(plan_of("a", "b"), FarShouter(take_over))
    assert place.read_bytes() == other
    assert [name for name in in_out(memory) if name.endswith(".txt")] == []


def test_who_was_stopped_for_long_looks_first_whether_the_batch_is_still_its_own(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = at("out/.all.ledger.jsonl.lock")
    monkeypatch.setattr(lease, "_RENEW_S", 1000.0)  # as if nothing had run meanwhile

    def be_stopped(text: str) -> None:
        place.write_bytes(b'{"token": "0-1-2.part", "host": "there", "pid": 1, "count": 9}')
        time.sleep(0.6)

    with pytest.raises(CosmosError, match="taken over by another process"):
        run(plan_of("a", "b"), FarShouter(be_stopped))
    assert [name for name in in_out(memory) if name.endswith(".txt")] == []
    assert b'"there"' in place.read_bytes()


def test_a_batch_that_could_not_begin_is_nobodys(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, read, asked = plan_of("a"), lease._read, list[Path]()

    def fail(place: Path) -> Any:
        asked.append(place)
        if len(asked) == 2:  # whether another has come at the same time
            raise CosmosError("cannot be reached.", where=str(place))
        return read(place)

    monkeypatch.setattr(lease, "_read", fail)
    with pytest.raises(CosmosError, match="cannot be reached"):
        run(plan)
    assert not at("out/.all.ledger.jsonl.lock").exists()


def test_an_item_waits_for_a_store_that_does_not_answer(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_service, "_PAUSES_S", (0.0,))
    plan, find, left = plan_of("a", "b"), memory.find, list[OSError]()

    def ask(self: Any, path: str, **options: Any) -> Any:
        if left and options.get("prefix") == "b.":
            raise left.pop()
        return find(path, **options)

    def lose(text: str) -> None:
        if text == "b":
            left.append(OSError("no answer"))

    monkeypatch.setattr(type(memory), "find", ask)
    assert statuses(run(plan, FarShouter(lose))) == ["done", "done"]
    assert left == []


def test_what_was_written_anew_is_noticed_though_it_is_as_long_and_read_only_then(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, done = plan_of("a", "b"), ["done before", "done before"]
    assert statuses(run(plan)) == ["done", "done"]

    def resume() -> list[str]:
        return read_by(monkeypatch, lambda: told.append(statuses(run(plan))))

    told: list[list[str]] = []
    assert resume() == []
    at("out/b.txt").write_bytes(b"B")  # as somebody does who copies the folder
    assert resume() == ["b.txt"]
    assert resume() == []
    at("out/b.txt").write_bytes(b"X")
    assert "b.txt" in resume()
    assert at("out/b.txt").read_bytes() == b"B"
    assert told == [done, done, done, ["done before", "done"]]
    # a ledger of an earlier version says no more than sizes
    for part in at(LEDGER).glob("*.jsonl"):
        lines = part.read_bytes().splitlines(keepends=True)
        part.write_bytes(b"".join(line for line in lines if b'"marks"' not in line))
    at("out/b.txt").write_bytes(b"Y")
    assert resume() == []
    assert told[-1] == done
    at("out/b.txt").write_bytes(b"B")
    assert resume() != []


def test_an_item_costs_few_questions(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def count(name: str) -> None:
        real = getattr(type(memory), name)

        def ask(self: Any, path: str, *args: Any, **options: Any) -> Any:
            if name != "put_file" or not str(args[0]).endswith((".lock", "report.html")):
                asked.append(name)
            return real(self, path, *args, **options)

        monkeypatch.setattr(type(memory), name, ask)

    def cost(*texts: str) -> int:
        plan = plan_of(*texts)
        asked.clear()
        assert set(statuses(run(plan, writes_page=False))) <= {"done", "done before"}
        return len(asked)

    monkeypatch.setattr(lease, "_RENEW_S", 1000.0)
    for name in ("info", "find", "put_file", "pipe_file", "cat_file", "cp_file", "rm_file"):
        count(name)
    few, more = cost("a"), cost("a", "b", "c", "d")
    # for each of three: whether somebody has put it there, two files, what they are now, and three lines of the ledger
    assert more - few <= 3 * 7 + 3


def test_of_an_item_whose_last_file_is_refused_nothing_stays(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, put = plan_of("a", "b"), memory.put_file

    def refuse(self: Any, source: str, target: str, **options: Any) -> None:
        if target.endswith("a.txt"):
            raise PermissionError("Access Denied")
        put(source, target, **options)

    monkeypatch.setattr(type(memory), "put_file", refuse)
    report = run(plan)
    assert statuses(report) == ["failed", "done"]
    assert "does not let you in: Access Denied" in report.outcomes[0].error
    assert in_out(memory) == ["b.json", "b.txt", "report.html"]
    assert list((copies_folder() / "outgoing").iterdir()) == []


@pytest.mark.parametrize("skew_s", [-3600, 3600])
def test_the_last_word_counts_whatever_clocks_say(memory: Any, monkeypatch: pytest.MonkeyPatch, skew_s: int) -> None:
    def fail(text: str) -> None:
        raise RuntimeError("once")

    assert statuses(run(plan_of("a"), FarShouter(fail))) == ["failed"]
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + skew_s * 1_000_000_000)
    assert statuses(run(plan_of("a"))) == ["done"]
    assert [entry.status for entry in read_ledger(at(LEDGER)).entries()] == ["done"]


def test_a_batch_of_many_folders_is_looked_over_in_few_questions(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{number}/a" for number in range(30)]
    plan = plan_of(*texts)
    assert statuses(run(plan)) == ["done"] * 30
    asked: list[str] = []
    info, iterdir = memory.info, StorePath.iterdir
    monkeypatch.setattr(type(memory), "info", lambda self, path, **k: (asked.append(path), info(path, **k))[1])
    monkeypatch.setattr(StorePath, "iterdir", lambda self: (asked.append(str(self)), iterdir(self))[1])
    assert statuses(run(plan, writes_page=False)) == ["done before"] * 30
    assert 0 < len(asked) < 10


# With S3


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server on this machine."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A new bucket, as a file system."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    outputs._proven.clear()
    files = fsspec.filesystem("s3", use_listings_cache=False)
    if files.exists("bucket"):
        files.rm("bucket", recursive=True)
    files.mkdir("bucket")
    return files


def objects(s3: Any, folder: str, ending: str = ".mp4") -> dict[str, bytes]:
    found = [name for name in s3.find(folder) if name.endswith(ending)]
    return {name.removeprefix(f"{folder}/"): s3.cat(name) for name in found}


def files(folder: str, ending: str = ".mp4") -> dict[str, bytes]:
    found = [path for path in Path(folder).rglob(f"*{ending}") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


PREDICT = ("predict2", "batch", "--model", "tiny", "--device", "cpu", "--num-frames", 5, "--num-steps", 2)
TRANSFER = ("transfer", "batch", "--model", "tiny", "--device", "cpu", "--num-steps", 1, "--guidance", 0)
PREDICT1 = ("predict1", "video2world", "--model", "tiny", "--device", "cpu", "--num-steps", 1, "--num-input-frames", 1)


def write_inputs(num_rows: int) -> None:
    """Rows that name a picture beside them, for Predict2."""
    Path("in").mkdir()
    write_png(Path("in/street.png"), np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8))
    rows = [
        {"input_video": "street.png", "prompt": f"It drifts {i}.", "output_video": f"sub/{i}.mp4", "seed": i}
        for i in range(num_rows)
    ]
    Path("in/rows.jsonl").write_text("\n".join(map(json.dumps, rows)))


def upload(s3: Any) -> None:
    for path in Path("in").iterdir():
        s3.put_file(str(path), f"bucket/in/{path.name}")


@pytest.mark.slow
def test_every_family_makes_the_same_files_there_as_here(s3: Any, cosmos: Cosmos) -> None:
    write_inputs(2)
    encode(Path("in/clip.mp4"), moving_gradient(5, 72, 96))
    clips = [{"visual_input": "clip.mp4", "prompt": "A street."}]
    Path("in/clips.jsonl").write_text(json.dumps(clips[0]))
    Path("spec.json").write_text(json.dumps({"edge": {"control_weight": 0.5}}))
    upload(s3)
    for line, rows, where in (
        (PREDICT, "rows.jsonl", "--output-root"),
        ((*TRANSFER, "--controlnet-specs", "spec.json"), "clips.jsonl", "--video-save-folder"),
    ):
        family = line[0]
        here = cosmos(*line, f"in/{rows}", where, f"out/{family}", "--json")
        assert here.exit_code == 0, here.stderr
        there = cosmos(*line, f"s3://bucket/in/{rows}", where, f"s3://bucket/out/{family}", "--json")
        assert there.exit_code == 0, there.stderr
        made = objects(s3, f"bucket/out/{family}")
        assert made == files(f"out/{family}")
        assert len(made) >= len(here.json["samples"])
        assert objects(s3, f"bucket/out/{family}", ".json").keys() == files(f"out/{family}", ".json").keys()
        videos = [sample["result"]["video"] for sample in there.json["samples"]]
        assert all(video.startswith(f"s3://bucket/out/{family}/") for video in videos)
        again = cosmos(*line, f"s3://bucket/in/{rows}", where, f"s3://bucket/out/{family}", "--json")
        assert {sample["status"] for sample in again.json["samples"]} == {"done before"}
        assert there.json["report"] == f"s3://bucket/out/{family}/report.html"
        assert not [name for name in s3.find("bucket/out") if "/." in name]
    # one video, and the same again from what its sidecar says
    one = ("predict2", "video2world", *PREDICT[2:], "--prompt", "It drifts 0.", "--seed", 0)
    result = cosmos(*one, "--input-path", "s3://bucket/in/street.png", "--save-path", "s3://bucket/one/a.mp4", "--json")
    assert result.exit_code == 0, result.stderr
    assert s3.cat("bucket/one/a.mp4") == s3.cat("bucket/out/predict2/sub/0.mp4")
    sidecar = json.loads(s3.cat("bucket/one/a.json"))
    assert sidecar["request"]["input_path"] == "s3://bucket/in/street.png"
    assert sidecar["input_sha256"] == json.loads(s3.cat("bucket/out/predict2/sub/0.json"))["input_sha256"]
    refused = cosmos(*one, "--input-path", "s3://bucket/in/street.png", "--save-path", "s3://bucket/one/a.mp4")
    assert refused.exit_code == 2
    assert "exists already, with a.json beside it" in " ".join(refused.stderr.split())
    gone = cosmos(*one, "--input-path", "s3://bucket/in/none.png", "--save-path", "s3://nobucket/a.mp4")
    assert gone.exit_code == 2
    told = " ".join(gone.stderr.split())
    assert "s3://bucket/in/none.png does not exist" in told
    assert told.count("there is no such bucket") == 1


@pytest.mark.slow
def test_a_batch_in_s3_that_is_killed_at_random_moments_ends_with_the_same_files(s3: Any, cosmos: Cosmos) -> None:
    num_rows = 6
    write_inputs(num_rows)
    upload(s3)
    assert cosmos(*PREDICT, "in/rows.jsonl", "--output-root", "out").exit_code == 0
    rows = ("s3://bucket/in/rows.jsonl", "--output-root", "s3://bucket/out")
    line = [sys.executable, "-m", "cosmos_cli", *map(str, PREDICT), *rows, "--num-gpus", "2"]
    draw = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        for text in process.stdout:
            if "Denoising" in text:
                break
        time.sleep(draw.random())
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finished = subprocess.run([*line, "--json"], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert objects(s3, "bucket/out") == files("out")
    assert not [name for name in s3.find("bucket/out") if "/." in name]
