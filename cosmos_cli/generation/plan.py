"""What a plan says: what a run, or several in a row, will do and cost, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cosmos_cli import output
from cosmos_cli.checkpoints.hub_cache import IN_CACHE
from cosmos_cli.durations import duration
from cosmos_cli.generation.files import NeededFile
from cosmos_cli.generation.rates import (
    Amount,
    Stage,
)
from cosmos_cli.generation.work import (
    Frames,
)
from cosmos_cli.runtime.machine import Machine

_ABSURD_S = 7 * 86_400.0
"""What nobody waits for."""


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


def _size(num_bytes: float) -> str:
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.1f} kB"
