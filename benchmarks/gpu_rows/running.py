"""Row after row: what is settled is passed over, what ends is kept at once, and what goes wrong costs one row."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from benchmarks.gpu_rows import card
from benchmarks.gpu_rows.measuring import answers, measure
from benchmarks.gpu_rows.results import (
    DONE,
    FAILED,
    INTERRUPTED,
    STARTED,
    Identity,
    Record,
    Results,
    commit,
    is_settled,
    latest,
)
from benchmarks.gpu_rows.rows import Row
from benchmarks.gpu_rows.steps import prepare
from benchmarks.gpu_rows.tables import line_of

_MARGIN = 1.5
"""How much longer than its estimate a row may take."""


def run(
    rows: Sequence[Row],
    device: torch.device,
    identity: Identity,
    results: Results,
    *,
    redo: Collection[str] = (),
    any_code: bool = False,
    end: float | None = None,
    compute: Callable[..., Any] = prepare,
) -> int:
    """Measure the rows that are not settled, in their order.

    Args:
        redo: ids of rows to measure whether they are settled or not.
        any_code: what an earlier state of the code has done is done.
        end: of `time.monotonic`; no row begins that might not end by then.
        compute: see `measure`.
    Returns:
        Exit code: 1 if a row failed, now or before; 130 after Ctrl-C.
    """
    known = latest(record for record in results.read() if identity.fits(record, any_code=any_code))
    common = {**vars(identity), "commit": commit()}
    left = []
    for row in rows:
        if row.id not in redo and is_settled(known.get(row.id)):
            record = known[row.id]
            reason = record.get("reason", "ended the process") if record["status"] != DONE else ""
            print(f"{row.id:36} {record['status']} on {record['date'][:10]}; --again {row.id} measures it. {reason}")
            continue
        if end is not None and time.monotonic() + _MARGIN * row.estimate_s > end:
            left.append(row.id)
            continue
        known[row.id] = _run_one(row, device, common, results, compute)
        print(line_of(row, known[row.id]), flush=True)
        if known[row.id]["status"] == INTERRUPTED:
            print("interrupted; the next call goes on with this row")
            return 130
        if known[row.id]["status"] == FAILED and not answers(device):
            print("the device does not answer this process any more; the next call goes on with the row after this one")
            return 1
    if left:
        print(f"no time was left for {len(left)} rows, which the next call begins with: {', '.join(left)}")
    states = [known[row.id]["status"] for row in rows if row.id in known]
    print(f"{states.count(DONE)} of {len(rows)} rows done, {states.count(FAILED) + states.count(STARTED)} failed")
    return 1 if FAILED in states or STARTED in states else 0


def _run_one(row: Row, device: torch.device, common: Record, results: Results, compute: Callable[..., Any]) -> Record:
    """The record of a row, which is kept when this returns. common: what all records of this call hold."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    record: Record = {"row": row.id, "status": STARTED, **common, "date": now}
    results.append(record)
    try:
        measured = measure(row.case, device, compute=compute)
    except KeyboardInterrupt:
        measured = {"status": INTERRUPTED, "reason": "Ctrl-C"}
    record = {**record, **measured, "card": card.state_of(device)}
    results.append(record)
    return record
