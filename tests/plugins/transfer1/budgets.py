"""Budgets of memory that make a run leave one plan for the next."""

from __future__ import annotations

from typing import Any

from cosmos_cli.generation.work import Rig, memory_stages
from cosmos_cli.runtime.memory.residence import plan_memory, step_down


def budget_after(steps: int, inputs: Any, settings: Any, request: Any) -> str:
    """What a run on a CPU takes so many steps below the plan that keeps everything on the device.

    Args:
        inputs: the module of that name of the kind.
    """
    plan = plan_memory(None, memory_stages([inputs.work_of(settings, request)], Rig.of(settings, "cpu")))
    for _ in range(steps):
        below = step_down(plan)
        assert below is not None
        plan = below
    return f"{plan.peak_bytes}B"
