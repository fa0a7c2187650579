"""What `cosmos transfer prompts` tells of its work."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cosmos_cli.errors import exit_code_of


@dataclass(frozen=True)
class PromptOutcome:
    """What became of one meta prompt. "kept": it was in the file before."""

    meta_prompt: str
    status: Literal["ok", "kept", "failed", "blocked"]
    error: str = ""


@dataclass(frozen=True)
class PromptsReport:
    """What became of all meta prompts, in their order. num_prompts: in the file now."""

    path: Path
    num_prompts: int
    outcomes: tuple[PromptOutcome, ...]

    @property
    def exit_code(self) -> int:
        """0, or 1 if a meta prompt failed, or 3 if all that is missing was blocked by guardrails."""
        return exit_code_of(outcome.status for outcome in self.outcomes)

    def summary(self) -> str:
        """A line for each that is missing, and one about the file."""
        lines = [f"{o.meta_prompt}  {o.status}: {o.error}" for o in self.outcomes if o.error]
        counts = {s: sum(o.status == s for o in self.outcomes) for s in ("ok", "kept", "failed", "blocked")}
        words = {"ok": "new", "kept": "kept"}
        parts = [f"{count} {words.get(status, status)}" for status, count in counts.items() if count]
        return "\n".join([*lines, f"{self.path}  ({self.num_prompts} prompts: {', '.join(parts)})"])

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "status": "ok" if self.exit_code == 0 else "failed",
            "exit_code": self.exit_code,
            "path": str(self.path),
            "num_prompts": self.num_prompts,
            "meta_prompts": [asdict(outcome) for outcome in self.outcomes],
        }
