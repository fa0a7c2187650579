from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli import output
from cosmos_cli.checkpoints.catalogue import PublishedFile, Repository
from cosmos_cli.errors import InputError
from cosmos_cli.files.cache import Cache
from cosmos_cli.generation import foresight
from cosmos_cli.generation.files import NeededFile, needed_files
from cosmos_cli.generation.foresight import Job, plan_job, plan_jobs
from cosmos_cli.generation.plan import Plan
from cosmos_cli.generation.rates import (
    Run,
    Stage,
    estimate_s,
    find_rate,
    first_guess_s,
    read_all,
    read_runs,
    remember,
    similar_runs,
)
from cosmos_cli.generation.settings import GenerationSettings
from cosmos_cli.generation.watch import Watch
from cosmos_cli.generation.work import Frames, Networks, Part, Work
from cosmos_cli.models.configs import MinimalDiTConfig, WanVAEConfig
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_cli.runtime.machine import Machine, find_machine, process_seconds

GPU = Machine("cuda", "NVIDIA H200", 140 << 30, 139 << 30, 64 << 30, 60 << 30)
CPU = Machine("cpu", "a processor, 2 cores", 8 << 30, 4 << 30, 8 << 30, 4 << 30)
NETWORKS = Networks(
    cost_of(MinimalDiTConfig(model_channels=64, num_blocks=2, num_heads=2, crossattn_emb_channels=32)),
    tokenizer_cost_of(WanVAEConfig(dim=8, num_res_blocks=1)),
)
PARTS = [Part("annotators", 4e9), Part("regions", 3e9, stages=("denoise",)), Part("masks", 1e9, "host", ("write",))]
"""What a job needs beside its networks, which take some megabytes."""


SETTINGS = GenerationSettings(model_size="2B", cache_dir=Path("cache"))


def plan(machine: Machine = GPU, files: Sequence[NeededFile] = (), parts: Sequence[Part] = PARTS) -> Plan:
    return plan_job(SETTINGS, job_of(files, parts), machine=machine)


def job_of(files: Sequence[NeededFile] = (), parts: Sequence[Part] = PARTS) -> Job:
    return Job(
        model="family 2B",
        request={"seed": 1},
        work=Work(NETWORKS, clip_px=(9, 64, 96), num_passes=70),
        frames=Frames(given=9, made=9, computed=121, chunks=1, height=64, width=96, fps=24),
        files=files,
        output=Path("new/folder/out.mp4"),
        beside=parts,
    )


def near(num_bytes: float) -> Any:
    """All but the networks."""
    return pytest.approx(num_bytes, abs=50e6)


def run(seconds: float, amount: float, model: str = "family 2B") -> Run:
    stage = Stage("denoise", {"attention": amount})
    return Run(GPU.name, model, "bfloat16", "2026-01-01", 1e14, {"denoise": stage}, {"denoise": seconds}, 10)


def test_many_jobs_of_one_model_share_what_is_foreseen_and_load_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    foresee = foresight.foresee_memory

    def counting(settings: Any, works: Sequence[Work], *rest: Any) -> Any:
        asked.append(len(works))
        return foresee(settings, works, *rest)

    monkeypatch.setattr(foresight, "foresee_memory", counting)
    monkeypatch.setattr(foresight.disk, "free_bytes", lambda folder: 10**12)  # of a real disk others take
    first, *others = plan_jobs(SETTINGS, [job_of()] * 20, machine=GPU)
    assert asked == [20]
    assert first == plan()
    assert all(other == others[0] for other in others)
    assert others[0].seconds < first.seconds


def test_memory_is_that_of_the_worst_stage_at_each_place() -> None:
    made = plan()
    assert made.device_peak is not None
    assert (made.device_peak.stage, made.device_peak.parts["regions"]) == ("denoise", 3_000_000_000)
    assert made.device_peak.num_bytes == near(7.6e9)  # with what the driver takes
    assert (made.host_peak.stage, made.host_peak.num_bytes) == ("write", near(4e9))


def test_on_a_cpu_everything_is_in_the_hosts_memory() -> None:
    made = plan(CPU)
    assert made.device_peak is None
    assert made.host_peak.stage == "denoise"
    assert "7.5 GB of host memory are needed and 4.3 GB are free." in made.problems()


def test_pages_of_files_count_for_the_peak_but_are_no_problem() -> None:
    pages = Part("pages", 100e9, "host", ("start",), can_go=True)
    made = plan(parts=[*PARTS, pages])
    assert made.host_peak.num_bytes > 100e9
    assert made.host_needed_bytes == near(4e9)
    assert not made.problems()


def test_missing_files_are_listed_with_their_size_and_licence() -> None:
    repository = Repository("maker/model", "main", (PublishedFile("a", 5), PublishedFile("b", 7)), "Some Licence")
    Path("root/maker/model").mkdir(parents=True)
    Path("root/maker/model/a").write_bytes(b"123")
    made = plan(files=needed_files([repository], Path("root")))
    assert [(file.path.name, file.num_bytes, file.is_present) for file in made.files] == [
        ("a", 3, True),
        ("b", 7, False),
    ]
    document = made.document()
    assert (document["files"]["present_bytes"], document["files"]["missing_bytes"]) == (3, 7)
    assert document["files"]["licences"] == ["Some Licence"]
    assert document["problems"] == ["1 of 2 files are missing (0.0 kB to fetch)."]
    assert "missing" in made.text()


def test_a_plan_that_nobody_waits_for_says_so_in_years() -> None:
    made = plan()
    slow = [replace(estimate, seconds=56_301.5 * 1800) for estimate in made.estimates[:2]]
    made = replace(made, estimates=tuple(slow))
    assert "6.4 years" in made.text()
    [problem] = made.problems()
    assert problem.startswith("It would take 6.4 years on NVIDIA H200")


def test_the_document_has_these_keys() -> None:
    document = plan().document()
    assert list(document) == [
        "model", "request", "machine", "files", "frames", "memory", "time", "disk", "problems", "notes", "not_counted",
    ]  # fmt: skip
    assert list(document["time"]["stages"][0]) == ["name", "flops", "passes", "seconds", "source"]
    assert document["time"]["flops"] == sum(stage["flops"] for stage in document["time"]["stages"]) > 0
    assert document["frames"]["computed"] == 121


def test_a_gpu_that_has_run_nothing_goes_by_the_table() -> None:
    rate = find_rate(GPU, "bfloat16")
    # NVIDIA's 221.7 s for the 1.38e17 FLOPs of a 2B video at 720p
    assert rate.flops_per_s == pytest.approx(1.38e17 / 221.7, rel=0.05)
    assert "table" in plan().estimates[1].source
    unknown = Machine("cuda", "Some GPU", 1, 1, 1, 1)
    assert "assumption" in find_rate(unknown, "bfloat16").source


def test_a_cpu_that_has_run_nothing_is_measured() -> None:
    assert find_rate(CPU, "float32").flops_per_s > 1e8
    assert "just measured" in plan(CPU).estimates[1].source


def test_later_plans_go_by_the_most_similar_run() -> None:
    runs = [run(10.0, 1e15), run(300.0, 1e17)]
    for amount, expected in ((1e15, 10.0), (2e15, 20.0), (0.5e17, 150.0)):
        seconds, found = estimate_s(Stage("denoise", {"attention": amount}), runs, 1e14, GPU)
        assert seconds == pytest.approx(expected)
        assert found is not None
    guess, found = estimate_s(Stage("decode", {"convolution": 1e15}), runs, 1e14, GPU)
    assert found is None
    assert guess == first_guess_s(Stage("decode", {"convolution": 1e15}), 1e14, GPU)


def test_runs_are_kept_by_model_and_the_oldest_are_forgotten() -> None:
    cache = Path("cache")
    remember(cache, run(1.0, 1e15, "other"))
    for number in range(10):
        remember(cache, run(float(number), 1e15))
    kept = similar_runs(read_runs(cache), GPU, "family 2B", "bfloat16")
    assert [entry.seconds["denoise"] for entry in kept] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert len(similar_runs(read_runs(cache), GPU, "other", "bfloat16")) == 1


HOSTILE: dict[str, Any] = {
    "flops_per_s": [0, -1.0, float("nan"), float("inf"), 1e300, "1e14", None, True, [1]],
    "baseline_bytes": [-1, float("nan"), 10**40, "1"],
    "device": [None, 1, ["a"]],
    "seconds": [{"denoise": float("nan")}, {"denoise": -1}, {"denoise": "3"}, {"denoise": 1e300}, 3, None],
    "stages": [
        {"denoise": {"name": "denoise", "amounts": {"attention": float("inf")}}},
        {"denoise": {"name": "denoise", "amounts": {"attention": -1.0}}},
        {"denoise": {"name": "denoise", "amounts": {"warmth": 1.0}}},
        {"denoise": {"name": "denoise", "amounts": {}, "num_passes": float("nan")}},
        {"denoise": {"name": "denoise", "amounts": {}, "fixed_s": "long"}},
        {"denoise": {}},
        7,
    ],
}
"""By field, what no run can have."""


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in HOSTILE.items() for value in values])
def test_a_run_that_cannot_have_been_costs_itself_only(field: str, value: Any) -> None:
    runs = [run(2.0, 1e15), run(3.0, 1e15)]
    entries = [asdict(each) for each in runs]
    assert [Run.read(entry) for entry in entries] == runs
    entries[1][field] = value
    stage = Stage("denoise", {"attention": 1e15}, num_passes=2)
    for found in (read_all(json.loads(json.dumps(entries))), read_all([*entries, 3, None, [], "x"])):
        assert found == runs[:1]
        assert estimate_s(stage, found, found[-1].flops_per_s, GPU)[0] == pytest.approx(2.0, rel=0.1)


def test_a_machine_too_busy_to_be_measured_in_time_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=10.0)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    rate = find_rate(CPU, "float32").flops_per_s
    assert 0 < first_guess_s(Stage("denoise", {"attention": 1e15}), rate, CPU) < float("inf")


@pytest.mark.parametrize("content", ["", "[3]", '[{"device": 1}]', '{"runs": 3}'])
def test_a_memory_of_runs_that_another_version_wrote_is_as_good_as_none(content: str) -> None:
    Cache(Path("cache"), "rates", limit_bytes=1000).put("runs", content.encode())
    assert read_runs(Path("cache")) == []
    remember(Path("cache"), run(1.0, 1e15))
    assert len(read_runs(Path("cache"))) == 1


def test_a_run_that_cannot_be_measured_ends_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_there() -> int:
        raise FileNotFoundError(2, "No such file or directory", "/proc/self/status")

    output.configure(speaking=False)
    monkeypatch.setattr("cosmos_cli.generation.watch.process_seconds", nothing_there)
    monkeypatch.setattr("cosmos_cli.generation.watch.peak_host_bytes", nothing_there)
    watch = Watch(plan(CPU, parts=[Part("DiT", 1e6)]), from_process_start=True)
    assert watch.finish({"denoise": 3.0, "total": 3.0}) == {}
    assert output.notices() == ["what the run takes is not set beside its plan: No such file or directory"]


def test_a_watched_run_is_set_beside_its_plan_and_teaches_the_next_plan() -> None:
    small = [Part("DiT", 1e6)]
    watch = Watch(plan(CPU, parts=small), from_process_start=True)
    compared = watch.finish({"denoise": 3.0, "decode": 0.5, "write": 1.0, "total": 4.5})
    planned, actual = compared["planned"], compared["actual"]
    assert planned.keys() == actual.keys()
    assert planned["seconds"].keys() == actual["seconds"].keys()
    assert actual["seconds"]["total"] == pytest.approx(4.5 + actual["seconds"]["start"], abs=0.01)
    again = plan(CPU, parts=small)
    assert [e.seconds for e in again.estimates[1:]] == [3.0, 0.5, 1.0]
    assert "measured on this machine on" in again.estimates[1].source
    assert again.host_peak.num_bytes == pytest.approx(actual["host_peak_bytes"], rel=0.001)


def test_a_run_whose_networks_need_the_most_says_nothing_about_python() -> None:
    Watch(plan(CPU), from_process_start=True).finish({"total": 1.0})
    assert plan(CPU).host_peak.parts["Python"] == 450_000_000


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(InputError, match=r"is not a device|does not exist"):
        find_machine(device)


def test_the_host_and_this_process() -> None:
    machine = find_machine("cpu")
    assert machine.host_bytes >= machine.host_free_bytes > 0
    assert "cores" in machine.name
    assert 0 < process_seconds() < 24 * 3600
