"""What became of a batch, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cosmos_cli import output
from cosmos_cli.batch.page import page_of
from cosmos_cli.errors import exit_code_of

Status = Literal["done", "done before", "failed", "blocked"]


@dataclass(frozen=True)
class Outcome:
    """What became of one row."""

    name: str
    place: str
    index: int
    status: Status
    seconds: float = 0.0
    error: str = ""
    result: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Report:
    """What became of a batch: every row, in the order of the file."""

    outcomes: tuple[Outcome, ...]
    ledger: Path
    seconds: float

    @property
    def exit_code(self) -> int:
        """0, or 1 if a row failed, or 3 if all that is missing was blocked by guardrails."""
        return exit_code_of(outcome.status for outcome in self.outcomes)

    @property
    def page(self) -> Path | None:
        """The page that shows it, if it could be written."""
        return page_of(self.ledger)

    def summary(self) -> str:
        """A table for people, and a line below it."""
        rows = [(o.name, o.status, f"{o.seconds:.1f} s" if o.seconds else "", o.error) for o in self.outcomes]
        counts = {status: sum(o.status == status for o in self.outcomes) for status in ("failed", "blocked")}
        num_done = sum(o.status in ("done", "done before") for o in self.outcomes)
        parts = [f"{num_done} of {len(self.outcomes)} done"]
        parts += [f"{count} {status}" for status, count in counts.items() if count]
        line = f"{', '.join(parts)} in {self.seconds:.1f} s; the same command again goes on with what is missing"
        if num_done == len(self.outcomes):
            line = f"{parts[0]} in {self.seconds:.1f} s"
        page = f"\nreport: {self.page}" if self.page else ""
        return output.table(("ITEM", "STATUS", "TIME", "ERROR"), rows) + f"\n{line}{page}"

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "status": "ok" if self.exit_code == 0 else "failed",
            "exit_code": self.exit_code,
            "samples": [asdict(outcome) for outcome in self.outcomes],
            "ledger": str(self.ledger),
            "report": str(self.page) if self.page else None,
            "seconds": round(self.seconds, 3),
        }
