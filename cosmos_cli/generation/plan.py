"""What a run will do and cost, said before anything is loaded, and set beside what it did and cost afterwards."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cosmos_cli import output, registry
from cosmos_cli.checkpoints.hub_cache import IN_CACHE
from cosmos_cli.durations import duration
from cosmos_cli.files import disk
from cosmos_cli.files.side_work import side_work
from cosmos_cli.generation.files import NeededFile
from cosmos_cli.generation.rates import (
    Amount,
    Rate,
    Run,
    Stage,
    estimate_s,
    find_rate,
    read_runs,
    remember,
    similar_runs,
    today,
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
from cosmos_cli.runtime.machine import Machine, find_machine, peak_device_bytes, peak_host_bytes, process_seconds
from cosmos_cli.runtime.memory.residence import RESIDENT, MemoryPlan, plan_memory, plan_within
from cosmos_cli.runtime.workers.layout import layout_of

_BASELINE_BYTES = {"cpu": 450e6, "cuda": 3e9}
"""Host memory of Python with everything imported: measured on a CPU; with a CUDA context it is assumed."""
_CUDA_CONTEXT_BYTES = 0.6e9
"""What the driver and libraries take of a GPU beside the tensors; assumed."""
_ABSURD_S = 7 * 86_400.0
"""What nobody waits for."""
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


@dataclass(frozen=True)
class Estimate:
    """A stage and its seconds. source: where the number is from."""

    stage: Stage
    seconds: float
    source: str


@dataclass(frozen=True)
class Peak:
    """The most memory that is needed at once: in which stage, and what it is made of, in bytes."""

    num_bytes: int
    stage: str
    parts: Mapping[str, int]


@dataclass(frozen=True)
class Plan:
    """What a run will do and cost.

    model: family, command and size, under which runs are remembered.
    request: what of the request is worth repeating.
    weights: where they are on a GPU, in words.
    device_peak: None on a CPU, where all memory is the host's.
    host_needed_bytes: of the host's memory, without what the system takes back when memory is short.
    notices: what the numbers leave out.
    flops_per_s: the rate that the first guesses went by.
    faults: what is wrong with the request itself, a sentence each.
    told: what a user should know of the request before it runs.
    num_items: pictures or videos; `frames` counts those of all, in the size of the first.
    """

    model: str
    request: Mapping[str, Any]
    machine: Machine
    precision: str
    files: tuple[NeededFile, ...]
    frames: Frames
    estimates: tuple[Estimate, ...]
    flops_per_s: float
    weights: str
    device_peak: Peak | None
    host_peak: Peak
    host_needed_bytes: int
    output_bytes: int
    disk_free_bytes: int
    checkpoint_free_bytes: int
    cache: Path
    notices: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    num_items: int = 1

    @property
    def seconds(self) -> float:
        """From the start of the process to the finished files."""
        return sum(estimate.seconds for estimate in self.estimates)

    @property
    def missing(self) -> list[NeededFile]:
        return [file for file in self.files if not file.is_present]

    def problems(self) -> list[str]:
        """What would keep the run from ending well, a sentence each."""
        missing_bytes = sum(file.num_bytes for file in self.missing if not file.is_cached)
        found = list(self.faults)
        if self.missing:
            cached = sum(file.num_bytes for file in self.missing if file.is_cached)
            there = f", and {_size(cached)} {IN_CACHE}" if cached else ""
            found.append(
                f"{len(self.missing)} of {len(self.files)} files are missing ({_size(missing_bytes)} to fetch{there})."
            )
        if self.machine.is_here and missing_bytes > self.checkpoint_free_bytes:
            found.append(f"The disk for checkpoints has {_size(self.checkpoint_free_bytes)} free.")
        device_bytes = self.device_peak.num_bytes if self.device_peak else 0
        memories = [("GPU", device_bytes, self.machine.device_free_bytes)]
        if self.machine.is_here:
            memories.append(("host", self.host_needed_bytes, self.machine.host_free_bytes))
        for name, needed, free in memories:
            if needed > free:
                found.append(f"{_size(needed)} of {name} memory are needed and {_size(free)} are free.")
        if self.machine.is_here and self.output_bytes > self.disk_free_bytes:
            found.append(f"The disk for the output has {_size(self.disk_free_bytes)} free.")
        if self.seconds > _ABSURD_S:
            found.append(
                f"It would take {duration(self.seconds)} on {self.machine.name}, which nobody waits for: take a "
                "smaller model, fewer frames or steps, or another machine."
            )
        return found

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        needed = [{**asdict(file), "path": str(file.path)} for file in self.files]
        return {
            "model": self.model,
            "request": dict(self.request),
            "machine": {**asdict(self.machine), "precision": self.precision},
            "files": {
                "needed": needed,
                "present_bytes": sum(file.num_bytes for file in self.files if file.is_present),
                "missing_bytes": sum(file.num_bytes for file in self.missing),
                "licences": sorted({file.licence for file in self.files}),
            },
            "frames": asdict(self.frames),
            "memory": {
                "weights": self.weights,
                "device_peak": asdict(self.device_peak) if self.device_peak else None,
                "host_peak": asdict(self.host_peak),
                "host_needed_bytes": self.host_needed_bytes,
            },
            "time": {
                "seconds": round(self.seconds, 3),
                "flops": sum(estimate.stage.flops for estimate in self.estimates),
                "stages": [
                    {
                        "name": estimate.stage.name,
                        "flops": estimate.stage.flops,
                        "passes": estimate.stage.num_passes,
                        "seconds": round(estimate.seconds, 3),
                        "source": estimate.source,
                    }
                    for estimate in self.estimates
                ],
            },
            "disk": {
                "output_bytes": self.output_bytes,
                "output_free_bytes": self.disk_free_bytes,
                "checkpoint_free_bytes": self.checkpoint_free_bytes,
            },
            "problems": self.problems(),
            "notes": list(self.told),
            "not_counted": list(self.notices),
        }

    def text(self) -> str:
        """One screen for people."""
        lines = [
            f"{self.model}, {self.precision}, on {self.machine.name}",
            self._output(),
            "",
            output.table(
                ["file", "size", "", "licence"],
                [[str(file.path), _size(file.num_bytes), file.state, file.licence] for file in self.files],
            ),
            "",
            output.table(
                ["stage", "time", "PFLOP", "from"],
                [
                    [
                        e.stage.name,
                        duration(e.seconds),
                        f"{e.stage.flops / 1e15:.3g}" if e.stage.flops else "",
                        e.source,
                    ]
                    for e in self.estimates
                ],
            ),
            "",
        ]
        sums = [("time", duration(self.seconds))]
        for name, peak in (("GPU memory", self.device_peak), ("host memory", self.host_peak)):
            if peak is not None:
                largest = sorted(peak.parts.items(), key=lambda item: -item[1])[:3]
                parts = ", ".join(f"{part} {_size(num_bytes)}" for part, num_bytes in largest)
                sums.append((name, f"{_size(peak.num_bytes)} in {peak.stage} ({parts})"))
        if self.device_peak is not None:
            sums.append(("weights", self.weights))
        sums.append(("disk", f"{_size(self.output_bytes)} of output"))
        sums += [("problem", problem) for problem in self.problems()]
        sums += [("note", line) for line in self.told]
        sums += [("not counted", notice) for notice in self.notices]
        return "\n".join([*lines, output.table(("", ""), sums)])

    def _output(self) -> str:
        """What would be made."""
        frames = self.frames
        size = f"{frames.width}x{frames.height}"
        if not frames.fps:
            return f"1 picture, {size}"
        videos = f"{self.num_items} videos, " if self.num_items > 1 else ""
        cut = f", {frames.computed} computed" if frames.computed != frames.made else ""
        chunks = f" in {frames.chunks} chunks" if frames.chunks > 1 else ""
        given = f" out of {frames.given}" if frames.given else ""
        return f"{videos}{frames.made} frames{chunks}{cut}{given}, {size}, {frames.fps:g} fps"

    def figures(self) -> dict[str, Any]:
        """What is compared with the run itself, in which the driver's memory cannot be seen."""
        device = self.device_peak
        return {
            "device_peak_bytes": device.num_bytes - device.parts["driver"] if device else None,
            "host_peak_bytes": self.host_peak.num_bytes,
            "seconds": {e.stage.name: round(e.seconds, 3) for e in self.estimates} | {"total": round(self.seconds, 3)},
        }


def plan_job(
    settings: GenerationSettings,
    job: Job,
    *,
    machine: Machine | None = None,
    is_first: bool = True,
    together: Sequence[Job] = (),
) -> Plan:
    """Put the numbers of a job together with those of this machine and with earlier runs of the same model here.

    Args:
        machine: if it was found before; None is this one with the device of the settings.
        is_first: whether the process must load everything first; False where the model has worked before.
        together: all jobs of a batch, if the model is loaded for them; they share files and weights.
    Raises:
        InputError: there is no such device, or no way to share the work, or `--max-memory` is too little.
    """
    machine, work = machine or find_machine(settings.device), job.work
    precision = precision_on(settings, machine.kind)
    jobs = together or [job]
    files = list({file.path: file for each in jobs for file in each.files}.values())
    stages = work.stages(files, job.frames, is_first=is_first)
    rig, memory = foresee_memory(settings, [each.work for each in jobs], machine, files)
    runs = similar_runs(read_runs(settings.cache_folder), machine, job.model, precision) if machine.is_here else []
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


def one_after_another(
    plans: Sequence[Plan], *, model: str, request: Mapping[str, Any], faults: Sequence[str] = ()
) -> Plan:
    """The plan of several runs in one process: the times of each stage add up, and of memory the largest counts.

    Args:
        plans: of each; what is done once for all, such as loading, stands in the first alone.
        model, request, faults: of them together, as in `Plan`.
    """
    first = plans[0]
    frames = [plan.frames for plan in plans]
    by_name: dict[str, list[Estimate]] = {}
    for plan in plans:
        for estimate in plan.estimates:
            by_name.setdefault(estimate.stage.name, []).append(estimate)
    device_peaks = [plan.device_peak for plan in plans if plan.device_peak is not None]
    return replace(
        first,
        model=model,
        request=request,
        files=tuple({file.path: file for plan in plans for file in plan.files}.values()),
        frames=replace(
            frames[0],
            given=sum(each.given for each in frames),
            made=sum(each.made for each in frames),
            computed=sum(each.computed for each in frames),
            chunks=max(each.chunks for each in frames),
        ),
        estimates=tuple(map(_sum, by_name.values())),
        device_peak=max(device_peaks, key=lambda peak: peak.num_bytes, default=None),
        host_peak=max((plan.host_peak for plan in plans), key=lambda peak: peak.num_bytes),
        host_needed_bytes=max(plan.host_needed_bytes for plan in plans),
        output_bytes=sum(plan.output_bytes for plan in plans),
        notices=tuple(dict.fromkeys(notice for plan in plans for notice in plan.notices)),
        faults=tuple(faults),
        told=tuple(dict.fromkeys(line for plan in plans for line in plan.told)),
        num_items=len(plans),
    )


def renamed(plan: Plan, prefix: str) -> Plan:
    """A plan whose stages can stand beside those of another."""

    def named(peak: Peak) -> Peak:
        return replace(peak, stage=prefix + peak.stage)

    return replace(
        plan,
        estimates=tuple(replace(e, stage=replace(e.stage, name=prefix + e.stage.name)) for e in plan.estimates),
        device_peak=plan.device_peak and named(plan.device_peak),
        host_peak=named(plan.host_peak),
    )


def _sum(estimates: Sequence[Estimate]) -> Estimate:
    """What a stage takes in all runs together."""
    stages = [estimate.stage for estimate in estimates]
    amounts: dict[Amount, float] = {}
    for stage in stages:
        for kind, amount in stage.amounts.items():
            amounts[kind] = amounts.get(kind, 0.0) + amount
    whole = Stage(
        stages[0].name, amounts, sum(stage.num_passes for stage in stages), sum(stage.fixed_s for stage in stages)
    )
    return Estimate(whole, sum(estimate.seconds for estimate in estimates), estimates[0].source)


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


def _size(num_bytes: float) -> str:
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.1f} kB"
