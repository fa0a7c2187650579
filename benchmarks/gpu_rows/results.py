"""Results as JSON lines: one appended for every row as it ends, so that nothing finished is lost or measured twice."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_rows.rows import ROOT

Record = dict[str, Any]

DONE, FAILED, MISSING, INTERRUPTED, STARTED = "done", "failed", "missing", "interrupted", "started"
"""How a row stands. Missing is what the machine lacks: a package, a kernel, a compiler. A row that was started, and of
which nothing more is known, has ended the process."""

_CODE = ("cosmos_cli/diffusion", "cosmos_cli/models", "cosmos_cli/runtime", "benchmarks/gpu_rows")
"""What figures depend on."""


@dataclass(frozen=True)
class Identity:
    """Where and with what a row was measured: another of any of these is another result."""

    device: str
    torch: str
    code: str

    def fits(self, record: Record, *, any_code: bool = False) -> bool:
        """Whether a record is of this device and version, and of this code unless any will do."""
        is_here = (record["device"], record["torch"]) == (self.device, self.torch)
        return is_here and (any_code or record["code"] == self.code)


class Results:
    """A file of records. What a kill has left half-written in it is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Record]:
        """All records, oldest first."""
        records = []
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and {"row", "status", "device", "torch", "code"} <= set(record):
                records.append(record)
        return records

    def append(self, record: Record) -> None:
        """Add a record, on the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def latest(records: Iterable[Record]) -> dict[str, Record]:
    """The last word on every row."""
    return {record["row"]: record for record in records}


def best(records: Iterable[Record]) -> dict[str, Record]:
    """The last figure of every row that has one, and of the others the last word."""
    found: dict[str, Record] = {}
    for record in records:
        if record["status"] == DONE or found.get(record["row"], {}).get("status") != DONE:
            found[record["row"]] = record
    return found


def is_settled(record: Record | None) -> bool:
    """Whether a row need not be measured again: it is done, or it has failed, or ended the process.

    What was interrupted is, and so is what the machine lacked, since it may have it by now.
    """
    return record is not None and record["status"] not in (INTERRUPTED, MISSING)


def code_fingerprint() -> str:
    """A name for the code that figures depend on, committed or not."""
    digest = hashlib.sha256()
    for folder in _CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def commit() -> str | None:
    """The commit that is checked out, marked where files differ from it; None outside of a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
