"""What a run did and cost, measured and set beside what was foreseen; later plans go by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosmos_cli.files.side_work import side_work
from cosmos_cli.generation.plan import Plan
from cosmos_cli.generation.rates import (
    Run,
    remember,
    today,
)
from cosmos_cli.runtime.machine import peak_device_bytes, peak_host_bytes, process_seconds

_UNMEASURED = "what the run takes is not set beside its plan"


class Watch:
    """Measures the run that a plan was made for.

    Args:
        from_process_start: whether the process exists for this run alone, so that imports and loading count for it.
    """

    def __init__(self, plan: Plan, *, from_process_start: bool) -> None:
        self._plan = plan
        self._start_s = None
        with side_work(_UNMEASURED):
            self._start_s = process_seconds() if from_process_start else None

    def finish(self, seconds: Mapping[str, float]) -> dict[str, Any]:
        """The sidecar's entries "planned" and "actual"; later plans go by what the run took.

        Args:
            seconds: of the stages, with their "total".
        Returns:
            Nothing, with a note, where it cannot be measured: the video is there by now.
        """
        with side_work(_UNMEASURED):
            return self._compared(seconds)
        return {}

    def _compared(self, seconds: Mapping[str, float]) -> dict[str, Any]:
        plan = self._plan
        taken = {e.stage.name: seconds[e.stage.name] for e in plan.estimates if e.stage.name in seconds}
        total = seconds["total"]
        if self._start_s is not None:
            taken[plan.estimates[0].stage.name] = self._start_s
            total += self._start_s
        host_bytes = peak_host_bytes()
        baseline = plan.host_peak.parts["Python"]
        counted = plan.host_peak.num_bytes - baseline
        # where networks need the most, the difference says more about them than about Python
        if self._start_s is not None and counted < host_bytes / 2:
            baseline = host_bytes - counted
        remember(
            plan.cache,
            Run(
                device=plan.machine.name,
                model=plan.model,
                precision=plan.precision,
                date=today(),
                flops_per_s=plan.flops_per_s,
                stages={e.stage.name: e.stage for e in plan.estimates},
                seconds=taken,
                baseline_bytes=baseline,
            ),
        )
        actual = {
            "device_peak_bytes": peak_device_bytes(),
            "host_peak_bytes": host_bytes,
            "seconds": {name: round(value, 3) for name, value in taken.items()} | {"total": round(total, 3)},
        }
        return {"planned": plan.figures(), "actual": actual}
