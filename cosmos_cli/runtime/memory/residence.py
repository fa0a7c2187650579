"""How networks share a device that is too small for all of them: what stays, what waits in host memory, what streams.

A run has stages that work one after the other: text encoder, guardrails, tokenizer, diffusion transformer and so on.
A plan says for each where its weights are while it does not work, and whether they are there at once when it does.
Plans form a ladder from "everything stays on the device" downwards; each step costs time and needs less memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from cosmos_cli.errors import InputError
from cosmos_cli.runtime.memory.amounts import format_memory

OWN_BYTES = 1 << 30
"""What CUDA, cuBLAS and cuDNN take of a GPU for themselves."""

ALIGNMENT_BYTES = 512
"""Where tensors begin that share a piece of memory: kernels may depend on it, and torch aligns like this on a GPU."""

MIN_BLOCKS = 2
"""Blocks of a streamed network on the device: the one that works and the one that comes next."""


@dataclass(frozen=True)
class NetworkSize:
    """What the weights of a network take. block_bytes: of its largest block."""

    trunk_bytes: int
    block_bytes: int = 0
    num_blocks: int = 0

    def bytes_with(self, num_blocks: int) -> int:
        """With at most so many blocks on the device."""
        return self.trunk_bytes + min(num_blocks, self.num_blocks) * self.block_bytes

    @property
    def total_bytes(self) -> int:
        return self.bytes_with(self.num_blocks)


def aligned(num_bytes: int) -> int:
    """What so many bytes take in a piece of memory that they share with others."""
    return -(-num_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


class Where(IntEnum):
    """Where the weights of a stage are, from the most memory to the least."""

    RESIDENT = 0
    """On the device, always."""
    PARKED = 1
    """In host memory, and on the device while the stage works."""
    STREAMED = 2
    """In host memory; while the stage works, a few blocks at a time are on the device."""


@dataclass(frozen=True)
class Residence:
    """Where the weights of a stage are. num_blocks: how many of each network are on the device, if streamed."""

    where: Where
    num_blocks: int = 0


RESIDENT, PARKED = Residence(Where.RESIDENT), Residence(Where.PARKED)


def streamed(num_blocks: int) -> Residence:
    return Residence(Where.STREAMED, num_blocks)


@dataclass(frozen=True)
class Stage:
    """Networks that work together.

    name: as a sentence has it, "text encoder" for instance.
    working_bytes: what they take while they work beside their weights.
    is_helper: works once per video, so it costs little to fetch and is the first to leave the device.
    highest: what the user allows, for stages that are to leave the device in any case.
    """

    name: str
    networks: tuple[NetworkSize, ...]
    working_bytes: int = 0
    is_helper: bool = False
    highest: Residence = RESIDENT

    @property
    def most_blocks(self) -> int:
        return max((network.num_blocks for network in self.networks), default=0)

    def lowered(self, residence: Residence) -> Residence:
        """The lower of `residence` and what the user allows; networks without enough blocks are parked instead."""
        if residence.where == Where.STREAMED and self.most_blocks <= MIN_BLOCKS:
            residence = PARKED
        ranks = [(each.where, -each.num_blocks) for each in (residence, self.highest)]
        return residence if ranks[0] >= ranks[1] else self.highest

    def bytes_at_work(self, residence: Residence) -> int:
        """Weights and working memory on the device while the stage works."""
        blocks = residence.num_blocks if residence.where == Where.STREAMED else self.most_blocks
        return self.working_bytes + sum(network.bytes_with(blocks) for network in self.networks)

    @property
    def weight_bytes(self) -> int:
        return sum(network.total_bytes for network in self.networks)


@dataclass(frozen=True)
class MemoryPlan:
    """Where the weights of every stage are."""

    stages: tuple[Stage, ...]
    residences: tuple[Residence, ...]

    def __getitem__(self, name: str) -> Residence:
        """Where the stage of this name is."""
        return next(
            residence for stage, residence in zip(self.stages, self.residences, strict=True) if stage.name == name
        )

    @property
    def needs(self) -> tuple[int, ...]:
        """Bytes on the device while each stage works: its own, and the weights of all that stay there."""
        pairs = list(zip(self.stages, self.residences, strict=True))
        staying = sum(stage.weight_bytes for stage, residence in pairs if residence == RESIDENT)
        return tuple(
            stage.bytes_at_work(residence) + staying - (stage.weight_bytes if residence == RESIDENT else 0)
            for stage, residence in pairs
        )

    @property
    def peak_bytes(self) -> int:
        return max(self.needs)

    def __str__(self) -> str:
        """In words, to follow "with"."""
        names: dict[Residence, list[str]] = {}
        for stage, residence in zip(self.stages, self.residences, strict=True):
            names.setdefault(residence, []).append(stage.name)
        parts = [f"{_listed(names[PARKED])} in host memory while idle"] if PARKED in names else []
        for residence in sorted(names, key=lambda residence: residence.num_blocks):
            if residence.where == Where.STREAMED:
                parts.append(f"{_listed(names[residence])} passing through in blocks, {residence.num_blocks} at a time")
        return "; ".join(parts) or "everything on the device"


def plan_memory(budget_bytes: int | None, stages: Sequence[Stage]) -> MemoryPlan:
    """The highest plan on the ladder that fits the budget; None is no budget.

    Raises:
        InputError: not even the lowest fits.
    """
    most_blocks = max((stage.most_blocks for stage in stages), default=0)
    plans = list(_ladder(tuple(stages), range(most_blocks - 1, MIN_BLOCKS - 1, -1)))
    if budget_bytes is None:
        return plans[0]
    for plan in plans:
        if plan.peak_bytes <= budget_bytes:
            return plan
    stage, need = max(zip(stages, plans[-1].needs, strict=True), key=lambda pair: pair[1])
    raise InputError(
        f"allows {format_memory(budget_bytes)}, but the {stage.name} takes about {format_memory(need)} at the least.",
        where="--max-memory",
        fix="Allow more, or make a smaller video.",
    )


def plan_within(stages: Sequence[Stage], *, budget_bytes: int | None, free_bytes: int | None) -> MemoryPlan:
    """The highest plan that fits the budget or, without one, what is free on a GPU.

    Args:
        free_bytes: None for a device whose memory is the host's.
    Raises:
        InputError: not even the lowest fits the budget.
    """
    if budget_bytes is None and free_bytes is not None:
        with suppress(InputError):  # it may fit all the same: let the run find out
            return plan_memory(free_bytes - OWN_BYTES, stages)
        return lowest_plan(stages)
    return plan_memory(budget_bytes, stages)


def lowest_plan(stages: Sequence[Stage]) -> MemoryPlan:
    """The plan that needs the least memory."""
    return list(_ladder(tuple(stages), [MIN_BLOCKS]))[-1]


def step_down(plan: MemoryPlan) -> MemoryPlan | None:
    """The next plan that needs less, or None below the lowest; the number of streamed blocks halves from step to step.

    A plan counts only if no stage needs more than before, and one needs less.
    """
    num_blocks = max((stage.most_blocks for stage in plan.stages), default=0)
    halves = [num_blocks >> power for power in range(1, num_blocks.bit_length())]
    for lower in _ladder(plan.stages, [*(half for half in halves if half > MIN_BLOCKS), MIN_BLOCKS]):
        changes = [new - old for new, old in zip(lower.needs, plan.needs, strict=True)]
        if max(changes) <= 0 and min(changes) < 0:
            return lower
    return None


def _ladder(stages: tuple[Stage, ...], num_blocks: Sequence[int]) -> Iterator[MemoryPlan]:
    """All plans, highest first, with these numbers of streamed blocks, in falling order."""

    def plan(helpers: Residence, others: Residence) -> MemoryPlan:
        return MemoryPlan(stages, tuple(stage.lowered(helpers if stage.is_helper else others) for stage in stages))

    yield plan(RESIDENT, RESIDENT)
    yield plan(PARKED, RESIDENT)
    yield plan(PARKED, PARKED)
    yield plan(streamed(MIN_BLOCKS), PARKED)
    yield from (plan(streamed(MIN_BLOCKS), streamed(count)) for count in num_blocks)


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
