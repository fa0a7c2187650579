"""The networks of one stage, put where a memory plan wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import nn

from cosmos_cli import output
from cosmos_cli.errors import CosmosError, TooLittleMemory
from cosmos_cli.runtime.memory.amounts import format_memory
from cosmos_cli.runtime.memory.exhaustion import is_out_of_memory, num_refused_requests
from cosmos_cli.runtime.memory.limit import DeviceMemory
from cosmos_cli.runtime.memory.offload import module_bytes, release_memory
from cosmos_cli.runtime.memory.residence import (
    OWN_BYTES,
    MemoryPlan,
    Residence,
    Stage,
    Where,
    lowest_plan,
    plan_within,
    step_down,
)
from cosmos_cli.runtime.memory.steps import STEPS_VARIABLE, OutOfMemory, read_steps
from cosmos_cli.runtime.memory.streaming import BlockStream

R = TypeVar("R")

_UNLIMITED = 1 << 62

_avoiding_others: ContextVar[bool] = ContextVar("avoiding others", default=False)
"""Threads begin without."""


def loading_device(residence: Residence, device: torch.device) -> torch.device:
    """Where to load networks that are to be placed."""
    return device if residence.where == Where.RESIDENT else torch.device("cpu")


class Placement:
    """Networks that work together, on the device for as long as their residence says.

    Args:
        networks: with their final weights, on the device or in host memory.
        blocks: of each network, if they are not its `blocks`.
        memory: what counts the weights on the device.
    Raises:
        torch.OutOfMemoryError: they are to stay on the device and do not fit.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        device: torch.device,
        residence: Residence,
        memory: DeviceMemory,
        *,
        blocks: Sequence[nn.ModuleList | nn.ModuleDict | None] | None = None,
    ) -> None:
        self._networks, self._device, self._memory = list(networks), device, memory
        self._blocks = list(blocks) if blocks is not None else [None] * len(self._networks)
        self._residence = residence
        self._streams: list[BlockStream] = []
        if residence.where == Where.RESIDENT:
            self._num_bytes = sum(map(module_bytes, self._networks))
            memory.take(self._num_bytes)
            for network in self._networks:
                network.to(device)
        else:
            self._num_bytes = 0
            self._stream()

    @property
    def residence(self) -> Residence:
        return self._residence

    def lower(self, residence: Residence) -> None:
        """Take a residence that needs less memory; not while the networks work.

        Raises:
            ValueError: the networks would have to return to the device.
        """
        if residence == self._residence:
            return
        if residence.where < self._residence.where:
            raise ValueError("networks that have left the device do not return")
        self._residence = residence
        if not self._streams:
            self._stream()
            self._memory.give(self._num_bytes)
            release_memory()
        self._set_blocks()

    def _stream(self) -> None:
        self._streams = [
            BlockStream(network, self._device, blocks=blocks, memory=self._memory)
            for network, blocks in zip(self._networks, self._blocks, strict=True)
        ]
        self._set_blocks()

    def _set_blocks(self) -> None:
        for stream in self._streams:
            stream.num_resident = self._residence.num_blocks if self._residence.where == Where.STREAMED else None

    @contextmanager
    def at_work(self, working_bytes: int = 0) -> Iterator[None]:
        """Have the networks on the device inside the block.

        Args:
            working_bytes: what they are expected to take beside their weights; a simulated device counts it.
        """
        with ExitStack() as stack:
            if self._streams:
                stack.callback(_empty_cache, self._device)
            for stream in self._streams:
                stack.enter_context(stream)
            stack.enter_context(self._memory.holding(working_bytes))
            yield


class Lowerable(Protocol):
    """What is placed for a stage, such as a `Placement`."""

    def lower(self, residence: Residence, /) -> None:
        """Take a residence that needs less memory; not while the stage works."""

    def at_work(self, working_bytes: int = 0, /) -> AbstractContextManager[None]:
        """Have it on the device inside the block."""


@dataclass(frozen=True)
class Descent:
    """How runs on a device go on when it is out of memory.

    device: theirs.
    is_alone: False where other processes work along, who would wait for this one for ever; then it ends, with them.
    words: what a plan is called.
    """

    device: torch.device
    is_alone: bool = True
    words: Callable[[MemoryPlan], str] = str

    def run(self, attempt: Callable[[], R], plan: MemoryPlan, apply: Callable[[MemoryPlan], None]) -> R:
        """What `attempt` returns; out of memory, one step down and again, said in one line.

        Args:
            attempt: must start afresh at each call, and leave nothing on the device when it fails.
            plan: the one in force.
            apply: brings the next plan into force; it stays there, for the runs to come.
        Raises:
            OutOfMemory: the process is not alone.
            CosmosError: the device runs out of memory with the lowest plan too.
        """
        current, lowered = plan, False
        while True:
            num_before = num_refused_requests(self.device)
            try:
                if lowered:
                    apply(current)
                return attempt()
            except RuntimeError as error:
                if not is_out_of_memory(error, num_refused=num_refused_requests(self.device) - num_before):
                    raise
                told = str(error).strip().partition("\n")[0]
            # out of the except block: with the error go its traceback and all tensors of the failed run
            release_memory()
            below = step_down(current)
            if below is None:
                raise (CosmosError if self.is_alone else OutOfMemory)(
                    f"the device has too little memory, even with {self.words(current)}. It said: {told}",
                    fix="Make a smaller or shorter video, close what else runs on the device, or use a larger device.",
                )
            if not self.is_alone:
                raise OutOfMemory(
                    f"the device has too little memory with {self.words(current)}.",
                    fix=f"Start all workers again with {STEPS_VARIABLE}={read_steps() + 1}: {self.words(below)}.",
                    below=self.words(below),
                )
            output.notice(f"out of memory: tried again with {self.words(below)}")
            current, lowered = below, True


class Stages:
    """All stages of a run on one device.

    Args:
        plan: where their weights are at first.
        parts: stage to what is placed there.
        descent: how to go on when memory runs out.
    """

    def __init__(self, plan: MemoryPlan, parts: Mapping[str, Lowerable], descent: Descent) -> None:
        self.plan, self._parts, self._descent = plan, dict(parts), descent

    def at_work(self, name: str) -> AbstractContextManager[None]:
        """A block in which the networks of a stage are on the device and work."""
        working_bytes = next(stage.working_bytes for stage in self.plan.stages if stage.name == name)
        return self._parts[name].at_work(working_bytes)

    def run(self, attempt: Callable[[], R]) -> R:
        """What `attempt` returns; out of memory, it is made again a step down, where the stages stay from then on.

        Args:
            attempt: must start afresh at each call, and leave nothing on the device when it fails.
        Raises:
            OutOfMemory, CosmosError: as for `Descent.run`.
        """
        return self._descent.run(attempt, self.plan, self._apply)

    def _apply(self, plan: MemoryPlan) -> None:
        self.plan = plan
        for name, part in self._parts.items():
            part.lower(plan[name])


@contextmanager
def avoiding_others() -> Iterator[None]:
    """A block in which a GPU is refused that others use too much of, since there are more to take: see a cluster.

    Without it a run finds out by itself, and who waits for the GPU may have it.
    """
    token = _avoiding_others.set(True)
    try:
        yield
    finally:
        _avoiding_others.reset(token)


def plan_for_device(
    device: torch.device,
    budget_bytes: int | None,
    stages: Sequence[Stage],
    *,
    least: Callable[[int], int] = lambda own: own,
) -> MemoryPlan:
    """The highest plan that fits the budget or, without one, what is free on a GPU.

    Args:
        least: of a number that every process of a run has, the least; all must take the same plan.
    Raises:
        InputError: not even the lowest fits the budget.
        TooLittleMemory: nor what others leave of the GPU, inside `avoiding_others`.
    """
    if device.type == "cuda" and _avoiding_others.get():
        _refuse_if_taken(device, stages)
    free_bytes = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" and budget_bytes is None else None
    budget_bytes, free_bytes = (
        None if (found := least(own if own is not None else _UNLIMITED)) == _UNLIMITED else found
        for own in (budget_bytes, free_bytes)
    )
    return plan_within(stages, budget_bytes=budget_bytes, free_bytes=free_bytes)


def _refuse_if_taken(device: torch.device, stages: Sequence[Stage]) -> None:
    free_bytes, total_bytes = torch.cuda.mem_get_info(device)
    others_bytes = total_bytes - free_bytes - torch.cuda.memory_reserved(device) - OWN_BYTES
    needed_bytes = lowest_plan(stages).peak_bytes + OWN_BYTES
    if free_bytes < needed_bytes <= free_bytes + others_bytes:
        raise TooLittleMemory(
            f"the GPU has {format_memory(free_bytes)} of {format_memory(total_bytes)} free, and about "
            f"{format_memory(needed_bytes)} are needed: others use it.",
            fix="End what else runs there, or have Ray count fewer GPUs of that machine.",
        )


def load_in_steps(load: Callable[[MemoryPlan], R], plan: MemoryPlan, descent: Descent) -> R:
    """What `load` returns for the plan or, out of memory, for the next that needs less.

    Raises:
        OutOfMemory, CosmosError: as for `Descent.run`.
    """
    current = [plan]
    return descent.run(lambda: load(current[-1]), plan, current.append)


def _empty_cache(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()  # the next stage's tensors have other sizes
