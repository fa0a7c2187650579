"""The GPU benchmark, which must run at the first attempt where a GPU is lent by the minute: here at toy size."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_rows import measuring, tables
from benchmarks.gpu_rows.cases import Denoising, Tokenizing
from benchmarks.gpu_rows.results import Identity, Record, Results, best
from benchmarks.gpu_rows.rows import ROOT, Row, all_rows, chosen
from benchmarks.gpu_rows.running import run
from benchmarks.gpu_rows.steps import prepare

CPU = torch.device("cpu")
HERE = Identity("a card", "2.0", "code")
NOT_ON_A_BARE_MACHINE = (
    *("pydantic", "pydantic_core", "av", "typer", "rich", "pluggy", "transformers", "cv2", "imageio"),
    *("huggingface_hub", "safetensors", "sentencepiece", "PIL", "diffusers"),
)


def on_a_bare_machine(*arguments: str, without: tuple[str, ...] = NOT_ON_A_BARE_MACHINE) -> Any:
    """Run the benchmark where importing any of these fails."""
    code = (
        "import runpy, sys; "
        f"sys.modules.update(dict.fromkeys({without!r})); "
        f"sys.argv = ['gpu.py', *{arguments!r}]; "
        f"runpy.run_path({str(ROOT / 'benchmarks' / 'gpu.py')!r}, run_name='__main__')"
    )
    # isolated: neither the tests' path nor an installed project helps
    return subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=300)


def test_every_row_runs_with_torch_alone_and_none_is_measured_twice(tmp_path: Path) -> None:
    kept = tmp_path / "gpu.jsonl"
    first = on_a_bare_machine("--smoke", "--results", str(kept))
    assert first.returncode == 0, first.stdout + first.stderr
    records = best(Results(kept).read())
    assert list(records) == [row.id for row in all_rows()]
    missing = {id for id, record in records.items() if record["status"] != "done"}
    needed = ("diffusers", "transformers", "NVIDIA GPU", "compiler", "Python.h")
    assert all(any(word in records[id]["reason"] for word in needed) for id in missing)
    assert not missing & {row.id for row in chosen(all_rows(), ["*p", "transfer-*s", "*stream*", "*tile", "*cameras"])}
    before = kept.read_text()
    again = on_a_bare_machine("--smoke", "--results", str(kept), "--rows", "predict2-2b-480p", "transfer-1-control")
    assert again.returncode == 0
    assert again.stdout.count("--again") == 2
    assert kept.read_text() == before


def test_the_list_needs_not_even_torch() -> None:
    listed = on_a_bare_machine("--list", without=(*NOT_ON_A_BARE_MACHINE, "torch", "numpy"))
    assert listed.returncode == 0, listed.stderr
    for row in all_rows():
        assert f"\n{row.id} " in listed.stdout
    assert "nothing measured" in listed.stdout


def test_without_a_gpu_nothing_is_measured_at_full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import gpu

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    with pytest.raises(SystemExit):
        gpu.main(["--rows", "no-such-row"])


def test_help_of_all_benchmarks_names_each_with_a_line() -> None:
    from benchmarks.__main__ import NAMES, OTHERS

    told = subprocess.run([sys.executable, "-m", "benchmarks", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0
    for name in (*NAMES, *OTHERS):
        [line] = [line for line in told.stdout.splitlines() if line.startswith(f"  {name} ")]
        assert len(line.split()) > 4


@pytest.mark.parametrize("id", ["predict2-2b-480p", "transfer-4-controls", "predict2-2b-7-cameras", "transfer-6-views"])
def test_rates_go_by_the_operations_that_a_step_takes(id: str) -> None:
    case = row_of(id).case.toy()
    assert flops_of(case) == pytest.approx(case.flops, rel=0.03)


@pytest.mark.parametrize("id", ["wan-decode-720p", "cosmos-encode-720p"])
def test_rates_go_by_the_operations_that_a_tokenizer_takes(id: str) -> None:
    case = row_of(id).case.toy()
    assert isinstance(case, Tokenizing)
    assert flops_of(case) == pytest.approx(case.flops, rel=0.1)


def flops_of(case: Any) -> float:
    with torch.inference_mode(), ExitStack() as stack:
        call = prepare(case, CPU, stack)
        with sdpa_kernel([SDPBackend.MATH]), FlopCounterMode(display=False) as counter:
            call()
    return counter.get_total_flops()


def test_known_figures_of_the_published_models() -> None:
    wide = row_of("predict2-2b-720p").case
    assert isinstance(wide, Denoising)
    assert wide.grid == (24, 44, 80)  # 84,480 patches
    assert wide.flops == pytest.approx(3.85e15, rel=0.01)
    assert row_of("transfer-1-control").case.flops == pytest.approx(4.89e15, rel=0.01)
    resident, streamed = (row_of(f"predict2-14b-720p{end}").case for end in ("", "-stream-2"))
    assert resident.planned_bytes is not None and streamed.planned_bytes is not None
    assert streamed.planned_bytes < resident.planned_bytes - 20e9
    assert streamed.host_bytes == resident.weight_bytes


def test_published_runs_hold_for_their_own_card_only() -> None:
    row = row_of("predict2-2b-720p")
    assert row.published_step_s("NVIDIA H200") == pytest.approx(221.7 / 36)
    assert row.published_step_s("NVIDIA H100 80GB HBM3") == pytest.approx(228.8 / 36)
    for other in ("NVIDIA H200 NVL", "NVIDIA GB200", "NVIDIA H100 PCIe", "NVIDIA GeForce RTX 4090"):
        assert row.published_step_s(other) is None
    assert row_of("predict2-2b-480p").published_step_s("NVIDIA H200 NVL") == pytest.approx(54.01 / 36)
    assert row_of("predict2-2b-720p-compiled").published_step_s("NVIDIA H200") is None


def test_a_row_without_memory_costs_itself_alone_and_gives_back_what_it_took(tmp_path: Path) -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def compute(case: Any, device: torch.device, stack: ExitStack) -> Any:
        if case.clip.num_views > 1:
            weights = torch.empty(8)
            held.append(weakref.ref(weights))
            raise torch.OutOfMemoryError("tried to allocate 1 GiB")
        return lambda: None

    rows = [row_of("predict2-2b-7-cameras"), row_of("predict2-2b-480p")]
    results = Results(tmp_path / "gpu.jsonl")
    assert run(rows, CPU, HERE, results, compute=compute) == 1
    assert [reference() for reference in held] == [None]
    records = best(results.read())
    assert records[rows[0].id]["status"] == "failed"
    assert "out of memory" in records[rows[0].id]["reason"]
    assert records[rows[1].id]["status"] == "done"


def test_what_ended_the_process_is_not_tried_again_and_what_was_interrupted_is(tmp_path: Path) -> None:
    called: list[int] = []

    def compute(case: Any, device: torch.device, stack: ExitStack) -> Any:
        called.append(case.clip.num_views)
        if len(called) == 1:
            raise KeyboardInterrupt
        return lambda: None

    crashed, interrupted = row_of("predict2-2b-480p"), row_of("transfer-6-views")
    results = Results(tmp_path / "gpu.jsonl")
    results.append({"row": crashed.id, "status": "started", "date": "2026-01-01", **vars(HERE)})
    with results.path.open("a") as file:
        file.write('{"row": "half a li')
    assert run([crashed, interrupted], CPU, HERE, results, compute=compute) == 130
    assert run([crashed, interrupted], CPU, HERE, results, compute=compute) == 1
    assert called == [6, 6]
    assert run([crashed], CPU, HERE, results, redo={crashed.id}, compute=compute) == 0
    assert called == [6, 6, 1]


def test_another_state_of_the_code_is_another_result(tmp_path: Path) -> None:
    called: list[Any] = []

    def compute(case: Any, device: torch.device, stack: ExitStack) -> Any:
        called.append(case)
        return lambda: None

    rows, results = [row_of("predict2-2b-480p")], Results(tmp_path / "gpu.jsonl")
    changed = replace(HERE, code="changed")
    run(rows, CPU, HERE, results, compute=compute)
    run(rows, CPU, changed, results, any_code=True, compute=compute)
    assert len(called) == 1
    run(rows, CPU, changed, results, compute=compute)
    assert len(called) == 2


def test_no_row_begins_that_might_not_end_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    long, short = row_of("predict2-14b-720p"), row_of("predict2-2b-480p")
    results = Results(tmp_path / "gpu.jsonl")
    assert short.estimate_s < 20 < long.estimate_s
    run([long, short], CPU, HERE, results, end=30.0, compute=lambda case, device, stack: lambda: None)
    assert list(best(results.read())) == [short.id]
    assert long.id in capsys.readouterr().out


def test_repeats_end_within_two_minutes() -> None:
    assert measuring.more_repeats(20.0, 75.0) == 2  # three in all
    assert measuring.more_repeats(40.0, 30.0) == 0
    assert measuring.more_repeats(0.5, 100.0) == 5
    assert measuring.more_repeats(1e-4, 100.0) == 19
    assert all(row.estimate_s < 120 for row in all_rows())


def record_of(id: str, median_s: float) -> Record:
    figures = {"median_s": median_s, "spread_s": 0.1, "seconds": [median_s] * 3, "copied_bytes": 0, "flops": 4e15}
    sizes = {"peak_bytes": 3 << 30, "planned_bytes": 4 << 30, "settings": "sdpa", "date": "2026-01-01T00:00:00"}
    card = {"driver": "600", "power_limit_w": "700", "sm_mhz": "1500", "max_sm_mhz": "1980"}
    return {"row": id, "status": "done", **vars(replace(HERE, device="NVIDIA H200")), **figures, **sizes, "card": card}


def test_the_table_holds_rates_and_ratios_and_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    page.write_text("# Measured\n\n## Another\n\ntext\n")
    records = {id: record_of(id, s) for id, s in (("predict2-2b-720p", 5.0), ("predict2-2b-720p-compiled", 4.0))}
    records["t5-11b-encoder"] = {**record_of("t5-11b-encoder", 1.0), "status": "missing", "reason": "no transformers"}
    for _ in range(2):
        tables.write_section(page, tables.section(all_rows(), records, "NVIDIA H200", "2.0"))
    text = page.read_text()
    assert text.count("on NVIDIA H200") == 1
    assert "## Another\n\ntext\n" in text
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    _, _, first, compiled = (dict(zip(lines[0], line, strict=True)) for line in lines)
    assert first["TFLOP/s"] == "800.0"
    assert (first["published s"], first["to published"]) == ("6.158", "0.81")
    assert (compiled["compared with"], compiled["ratio"]) == ("predict2-2b-720p", "0.80")
    assert (first["peak GiB"], first["planned GiB"]) == ("3.00", "4.00")
    assert "power limit 700 W" in text and "1500 to 1500 of 1980 MHz" in text
    assert "t5-11b-encoder: missing: no transformers" in text


def test_records_are_one_line_of_json_each(tmp_path: Path) -> None:
    results = Results(tmp_path / "folder" / "gpu.jsonl")
    for id in ("a", "b"):
        results.append(record_of(id, 1.0))
    assert [json.loads(line)["row"] for line in results.path.read_text().splitlines()] == ["a", "b"]


def row_of(id: str) -> Row:
    [row] = chosen(all_rows(), [id])
    return row
