"""Rows and results as tables: what could be measured, what has just been, and the page that keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_rows.results import DONE, Record
from benchmarks.gpu_rows.rows import NUM_EVALUATIONS, ROW_SECONDS, Row

_LIST_DEVICE = "NVIDIA H200"

_LIST_NOTE = (
    "Estimates for an H200, nothing measured: FLOPs at 790 TFLOP/s, a fifth of that in convolutions, copies at 50 GB/s."
    f"\nA row is its setup, a warm-up and three calls, and chooses its repeats to end within {ROW_SECONDS:.0f} s.\n"
    "device: on the GPU while the row works, as --plan counts it; host: weights that wait in host memory.\n"
    f"published: NVIDIA's run on an H200 divided by its {NUM_EVALUATIONS} evaluations; a run holds more than these."
)

_COLUMNS = (
    "row",
    "what",
    "settings",
    "s, median",
    "spread",
    "n",
    "TFLOP/s",
    "published s",
    "to published",
    "compared with",
    "ratio",
    "peak GiB",
    "planned GiB",
)


def dry_list(rows: Sequence[Row]) -> str:
    """What each row needs and would take."""
    lines = [
        f"{'row':36} {'what':86} {'weights':>8} {'device':>7} {'host':>6} {'PFLOP':>7} {'s/call':>7} {'row s':>6} "
        f"{'published':>9}"
    ]
    for row in rows:
        case = row.case
        lines.append(
            f"{row.id:36} {f'{row.what}: {case.settings}':86} {_gib(case.weight_bytes):>8} "
            f"{_gib(case.planned_bytes):>7} {_gib(case.host_bytes):>6} {case.flops / 1e15:7.3f} {case.call_s:7.3f} "
            f"{row.estimate_s:6.0f} {_seconds(row.published_step_s(_LIST_DEVICE)):>9}"
        )
    minutes = sum(row.estimate_s for row in rows) / 60
    lines.append(f"{len(rows)} rows, about {minutes:.0f} minutes on an H200; memory in GiB")
    return "\n".join([*lines, _LIST_NOTE])


def line_of(row: Row, record: Record) -> str:
    """One result as it is printed."""
    if record["status"] != DONE:
        return f"{row.id:36} {record['status']}: {record.get('reason', '')}"
    half_s, memory = record["spread_s"] / 2, f"{_gib(record['peak_bytes'])} GiB"
    return (
        f"{row.id:36} {record['median_s']:9.4f} s  +-{half_s:.4f}  n {len(record['seconds']):2}  "
        f"{_rate(record):>14}  peak {memory}, planned {_gib(record['planned_bytes'])}"
    )


def section(rows: Sequence[Row], records: Mapping[str, Record], device: str, torch_version: str) -> str:
    """The table of one device, in the order of the rows, under a heading of its own."""
    own = {row.id: records[row.id] for row in rows if row.id in records}
    done = {id: record for id, record in own.items() if record["status"] == DONE}
    lines = [heading(device, torch_version), "", _settings(list(own.values())), ""]
    lines += [_table_line(_COLUMNS), _table_line(["---"] * len(_COLUMNS))]
    lines += [_table_line(_cells(row, done)) for row in rows if row.id in done]
    others = [(row, own[row.id]) for row in rows if row.id in own and row.id not in done]
    if others:
        lines += ["", "Without a figure:", ""]
        lines += [f"- {row.id}: {record['status']}: {record.get('reason', '')}" for row, record in others]
    return "\n".join(lines) + "\n"


def heading(device: str, torch_version: str) -> str:
    return f"## `benchmarks/gpu.py` on {device}, torch {torch_version}"


def write_section(page: Path, text: str) -> None:
    """Put a section into a page: in place of the one with its heading, or at the end."""
    earlier = page.read_text(encoding="utf-8") if page.exists() else "# Measured\n"
    title = text.partition("\n")[0]
    pieces = ("\n" + earlier).split("\n## ")
    kept = [piece for piece in pieces if f"## {piece.partition(chr(10))[0]}" != title]
    page.write_text("\n## ".join(kept).strip("\n") + "\n\n" + text, encoding="utf-8")


def _settings(records: Sequence[Record]) -> str:
    """What holds for all rows of a section, and how to read it."""
    dates = sorted({record["date"][:10] for record in records})
    codes = sorted({str(record.get("commit") or record["code"]) for record in records})
    state: dict[str, Any] = {}
    for record in records:
        state |= record.get("card", {})
    clocks = sorted({int(float(record["card"]["sm_mhz"])) for record in records if "sm_mhz" in record.get("card", {})})
    parts = [
        f"driver {state['driver']}" if "driver" in state else "",
        f"CUDA {state['cuda']}" if "cuda" in state else "",
        f"power limit {state['power_limit_w']} W" if "power_limit_w" in state else "",
        f"SM clock after a row {clocks[0]} to {clocks[-1]} of {state.get('max_sm_mhz', '?')} MHz" if clocks else "",
    ]
    told = "; ".join(part for part in parts if part) or "nvidia-smi told nothing"
    return f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}, commit {', '.join(codes)}; {told}.\n\n{_READING}"


_READING = f"""\
Random weights, bfloat16, batch 1. A step is two passes of the networks, with the prompt and with the negative prompt,
and is one of the {NUM_EVALUATIONS} evaluations of a run of 35 steps; loading, text encoding, guardrails and files are
outside. After a warm-up the median of n calls, and the distance of the slowest from the fastest; n 0: the first call
left no time for another. Clips are frames x height x width in pixels. Published is NVIDIA's run on this card divided by
{NUM_EVALUATIONS}: not measured here, and a run holds more than its steps. A ratio below 1 is in favour of the row.
Planned is what `--plan` counts for the same networks, peak what torch has allocated."""


def _cells(row: Row, done: Mapping[str, Record]) -> list[str]:
    record = done[row.id]
    published = row.published_step_s(record["device"])
    other = row.compared_to or f"{row.id}-diffusers"
    is_compared = other in done
    return [
        row.id,
        row.what,
        record["settings"],
        f"{record['median_s']:.4f}",
        f"{record['spread_s']:.4f}",
        str(len(record["seconds"])),
        _rate(record).removesuffix(" TFLOP/s"),
        _seconds(published),
        _ratio(record["median_s"], published),
        other if is_compared else "-",
        _ratio(record["median_s"], done[other]["median_s"] if is_compared else None),
        _gib(record["peak_bytes"]),
        _gib(record["planned_bytes"]),
    ]


def _table_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rate(record: Record) -> str:
    """FLOPs, or copied bytes, of a call by its median."""
    if record["copied_bytes"]:
        return f"{record['copied_bytes'] / record['median_s'] / 1e9:.1f} GB/s"
    return f"{record['flops'] / record['median_s'] / 1e12:.1f} TFLOP/s"


def _ratio(seconds: float, other: float | None) -> str:
    return "-" if other is None else f"{seconds / other:.2f}"


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3f}"


def _gib(num_bytes: float | None) -> str:
    return "-" if num_bytes is None else f"{num_bytes / 2**30:.2f}"
