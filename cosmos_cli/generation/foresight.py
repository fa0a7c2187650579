"""What a run will do and cost, foreseen from its request, this machine, and earlier runs of the same model here."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cosmos_cli import registry
from cosmos_cli.files import disk
from cosmos_cli.generation.files import NeededFile
from cosmos_cli.generation.plan import Estimate, Peak, Plan
from cosmos_cli.generation.rates import (
    Rate,
    Run,
    Stage,
    estimate_s,
    find_rate,
    read_runs,
    similar_runs,
)
from cosmos_cli.generation.settings import GenerationSettings
from cosmos_cli.generation.work import (
    Frames,
    Memory,
    Part,
    Rig,
    Work,
    asked_of,
    guardrail_parts,
    memory_stages,
    precision_on,
    weight_parts,
)
from cosmos_cli.runtime.machine import Machine, find_machine
from cosmos_cli.runtime.memory.residence import RESIDENT, MemoryPlan, plan_memory, plan_within
from cosmos_cli.runtime.workers.layout import layout_of

_BASELINE_BYTES = {"cpu": 450e6, "cuda": 3e9}
"""Host memory of Python with everything imported: measured on a CPU; with a CUDA context it is assumed."""
_CUDA_CONTEXT_BYTES = 0.6e9
"""What the driver and libraries take of a GPU beside the tensors; assumed."""
_OUTPUT_BITS_PER_PX = 0.25
"""Of H.264 at the quality that videos are written in; moving scenes take more, still ones less."""
_PICTURE_BITS_PER_PX = 8.0
"""Between a JPEG of quality 85, some 2, and a PNG, some 15."""


@dataclass(frozen=True)
class Job:
    """A request that was checked, as far as its cost goes.

    model: family, command and size, under which runs are remembered.
    request: what of the request is worth repeating.
    files: all that it reads.
    output: what it writes first.
    beside: what needs memory while others of a batch are prepared and written.
    notices: what the numbers leave out, beside what they always do.
    told: what a user should know of the request before it runs, a sentence each.
    """

    model: str
    request: Mapping[str, Any]
    work: Work
    frames: Frames
    files: Sequence[NeededFile]
    output: Path
    beside: Sequence[Part] = ()
    notices: Sequence[str] = ()
    told: Sequence[str] = ()


def plan_job(settings: GenerationSettings, job: Job, *, machine: Machine | None = None) -> Plan:
    """Put the numbers of a job together with those of this machine and with earlier runs of the same model here.

    Args:
        machine: if it was found before; None is this one with the device of the settings.
    Raises:
        InputError: there is no such device, or no way to share the work, or `--max-memory` is too little.
    """
    [plan] = plan_jobs(settings, [job], machine=machine)
    return plan


def plan_jobs(settings: GenerationSettings, jobs: Sequence[Job], *, machine: Machine | None = None) -> list[Plan]:
    """As `plan_job`, for jobs that one model makes one after the other: it is loaded once, and for all of them."""
    machine = machine or find_machine(settings.device)
    files = list({file.path: file for job in jobs for file in job.files}.values())
    rig, memory = foresee_memory(settings, [job.work for job in jobs], machine, files)
    together = _Together(machine, files, rig, memory, read_runs(settings.cache_folder) if machine.is_here else [])
    return [_planned(settings, job, together, is_first=number == 0) for number, job in enumerate(jobs)]


@dataclass(frozen=True)
class _Together:
    """What jobs have in common that one model makes. history: runs of whatever model on this machine."""

    machine: Machine
    files: Sequence[NeededFile]
    rig: Rig
    memory: MemoryPlan
    history: Sequence[Run]


def _planned(settings: GenerationSettings, job: Job, together: _Together, *, is_first: bool) -> Plan:
    """The plan of one. is_first: whether the process must load everything for it."""
    machine, files, rig, memory = together.machine, together.files, together.rig, together.memory
    work, precision = job.work, precision_on(settings, machine.kind)
    stages = work.stages(files, job.frames, is_first=is_first)
    runs = similar_runs(together.history, machine, job.model, precision)
    flops_per_s, estimates = _estimate(stages, runs, machine, precision)
    names = [stage.name for stage in stages]
    baseline = runs[-1].baseline_bytes if runs else _BASELINE_BYTES[machine.kind]
    parts = [
        *weight_parts(memory, work, names),
        *work.working_parts(rig),
        *work.host_parts(rig, files, job.frames),
        *guardrail_parts(files, offload=settings.offloads_guardrails),
        *job.beside,
        Part("Python", baseline, "host"),
    ]
    device_peak = None
    if machine.kind == "cuda":
        device_peak = _peak([*parts, Part("driver", _CUDA_CONTEXT_BYTES)], "device", names)
    else:
        parts = [replace(part, memory="host") for part in parts]
    bits_per_px = _OUTPUT_BITS_PER_PX if job.frames.fps else _PICTURE_BITS_PER_PX
    pixels = work.num_copies * job.frames.made * job.frames.height * job.frames.width
    return Plan(
        model=job.model,
        request={**job.request, "output": str(job.output)},
        machine=machine,
        precision=precision,
        files=tuple(files),
        frames=job.frames,
        estimates=estimates,
        flops_per_s=flops_per_s,
        weights=str(memory),
        device_peak=device_peak,
        host_peak=_peak(parts, "host", names),
        host_needed_bytes=_peak([part for part in parts if not part.can_go], "host", names).num_bytes,
        output_bytes=round(pixels * bits_per_px / 8),
        disk_free_bytes=disk.free_bytes(job.output.parent),
        checkpoint_free_bytes=disk.free_bytes(settings.checkpoint_dir),
        cache=settings.cache_folder,
        notices=(*_not_counted(settings, machine), *job.notices),
        told=tuple(job.told),
    )


def foresee_memory(
    settings: GenerationSettings, works: Sequence[Work], machine: Machine, files: Sequence[NeededFile] = ()
) -> tuple[Rig, MemoryPlan]:
    """Where a run on this machine would have its weights, as `load_models` decides it.

    Args:
        files: all that the run reads; guardrails among them take their part of a GPU before.
    """
    layout = layout_of(settings, **asked_of(works))
    rig = Rig.of(settings, machine.kind, layout.cp)
    stages = memory_stages(works, rig, settings.offloaded)
    if machine.kind == "cpu":
        plan_memory(settings.max_memory_bytes, stages)  # refuses what would not run
        return rig, MemoryPlan(tuple(stages), (RESIDENT,) * len(stages))  # all memory is the host's
    guardrails = guardrail_parts(files, offload=settings.offloads_guardrails)
    staying = sum(part.num_bytes for part in guardrails if part.memory == "device" and not part.stages)
    free_bytes = machine.device_free_bytes - round(staying + _CUDA_CONTEXT_BYTES)
    return rig, plan_within(stages, budget_bytes=settings.max_memory_bytes, free_bytes=free_bytes)


def _estimate(
    stages: Sequence[Stage], runs: Sequence[Run], machine: Machine, precision: str
) -> tuple[float, tuple[Estimate, ...]]:
    """The rate of the first guesses, and the seconds of every stage."""
    if runs:
        flops_per_s, guess = runs[-1].flops_per_s, "the rate of earlier runs on this machine"
    else:
        rate = _first_rate(machine, precision)
        flops_per_s, guess = rate.flops_per_s, rate.source
    estimates = []
    for stage in stages:
        seconds, run = estimate_s(stage, runs, flops_per_s, machine)
        first = guess if stage.flops else "assumed speed of disk and codec"
        estimates.append(Estimate(stage, seconds, f"measured on this machine on {run.date}" if run else first))
    return flops_per_s, tuple(estimates)


def _not_counted(settings: GenerationSettings, machine: Machine) -> list[str]:
    found = []
    if not machine.is_here:
        found.append("whether the host memory and the disks of that machine suffice")
    if not machine.is_sure:
        found.append("that CUDA may mean another of the GPUs here; CUDA_DEVICE_ORDER=PCI_BUS_ID settles which")
    if settings.is_guarded and (names := registry.current().extensions.get("guardrails")):
        found.append(", ".join(names))
    if settings.num_gpus > 1:
        found.append(f"the sharing among {settings.num_gpus} GPUs: time is that of one alone")
    return found


@functools.lru_cache
def _first_rate(machine: Machine, precision: str) -> Rate:
    """Measured once for all rows of a batch, which share their `machine`."""
    return find_rate(machine, precision)


def _peak(parts: Sequence[Part], memory: Memory, stages: Sequence[str]) -> Peak:
    """The stage in which the parts of one memory need the most."""

    def during(stage: str) -> dict[str, int]:
        held: dict[str, int] = {}
        for part in parts:
            if part.memory == memory and round(part.num_bytes) and (not part.stages or stage in part.stages):
                held[part.name] = held.get(part.name, 0) + round(part.num_bytes)
        return held

    worst = max(stages, key=lambda stage: sum(during(stage).values()))
    held = during(worst)
    return Peak(sum(held.values()), worst, held)
