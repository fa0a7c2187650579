"""Amounts of memory, the ladder of plans, and the way down it when memory runs out."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from cosmos_cli import output
from cosmos_cli.errors import CosmosError, InputError, TooLittleMemory
from cosmos_cli.runtime.memory.amounts import parse_memory
from cosmos_cli.runtime.memory.limit import DeviceMemory, limit_device
from cosmos_cli.runtime.memory.placement import Descent, Placement, avoiding_others, plan_for_device
from cosmos_cli.runtime.memory.residence import (
    PARKED,
    RESIDENT,
    MemoryPlan,
    NetworkSize,
    Stage,
    Where,
    lowest_plan,
    plan_memory,
    step_down,
    streamed,
)
from cosmos_cli.runtime.memory.steps import OutOfMemory, read_steps
from cosmos_cli.settings import ParallelSettings
from tests.runtime.memory.sizes import size_of

GIB = 2**30
# about the published sizes: T5-11B's encoder in float32, the tokenizer, Transfer1-7B with one control branch
STAGES = (
    Stage("text encoder", (NetworkSize(GIB // 8, 24 * GIB // 32, 24),), GIB // 8, is_helper=True),
    Stage("tokenizer", (NetworkSize(GIB // 5),), 2 * GIB),
    Stage("diffusion transformer", (NetworkSize(GIB, GIB // 2, 28), NetworkSize(GIB // 4, GIB // 2, 3)), 8 * GIB),
)
DESCENT = Descent(torch.device("cpu"))


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("12GiB", 12 * GIB),
        ("1.5 gib", 3 * GIB // 2),
        ("800MiB", 800 * 2**20),
        ("16GB", 16 * 10**9),
        ("12", 12 * GIB),
        (" 0.5 ", GIB // 2),
        ("4096 b", 4096),
        ("2 TiB", 2**41),
    ],
)
def test_amounts_of_memory(text: str, num_bytes: int) -> None:
    assert parse_memory(text) == num_bytes


@pytest.mark.parametrize("text", ["", "GiB", "12 apples", "-1GiB", "0", "0GiB", "nan", "1e3", "12G iB", "1,5GiB"])
def test_what_is_no_amount_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="must be an amount of memory such as 12GiB") as caught:
        parse_memory(text)
    assert repr(text) in str(caught.value)


def test_a_number_in_a_file_or_a_program_is_in_gib_too() -> None:
    assert ParallelSettings.model_validate({"max_memory": 12}).max_memory_bytes == 12 * GIB
    assert ParallelSettings.model_validate_json('{"max_memory": 1.5}').max_memory_bytes == 3 * GIB // 2
    with pytest.raises(ValidationError):
        ParallelSettings.model_validate({"max_memory": True})


def test_sizes_are_those_of_the_weights_in_the_dtype_that_they_will_have() -> None:
    with torch.device("meta"):
        net = nn.Module()
        net.embed = nn.Linear(64, 64, bias=False)
        net.blocks = nn.ModuleList([nn.Linear(64, 64, bias=False), nn.Linear(64, 128, bias=False)])
    assert size_of(net) == NetworkSize(4 * 64 * 64, 4 * 64 * 128, 2)
    assert size_of(net, torch.bfloat16) == NetworkSize(2 * 64 * 64, 2 * 64 * 128, 2)
    assert size_of(net.embed) == NetworkSize(4 * 64 * 64)


def test_without_a_budget_everything_stays_unless_the_user_says_otherwise() -> None:
    assert plan_memory(None, STAGES).residences == (RESIDENT, RESIDENT, RESIDENT)
    allowed = [Stage("text encoder", STAGES[0].networks, highest=PARKED, is_helper=True), *STAGES[1:]]
    assert plan_memory(None, allowed)["text encoder"] == PARKED
    allowed = [*STAGES[:2], Stage("diffusion transformer", STAGES[2].networks, highest=streamed(4))]
    assert plan_memory(None, allowed)["diffusion transformer"] == streamed(4)
    assert plan_memory(20 * GIB, allowed)["diffusion transformer"] == streamed(4)


@pytest.mark.parametrize(
    ("budget_gib", "residences"),
    [
        (64, (RESIDENT, RESIDENT, RESIDENT)),
        (45, (RESIDENT, RESIDENT, RESIDENT)),
        (36, (PARKED, RESIDENT, RESIDENT)),
        (25, (PARKED, PARKED, PARKED)),
        (18, (streamed(2), PARKED, streamed(14))),
        (12, (streamed(2), PARKED, streamed(2))),
    ],
)
def test_a_budget_takes_the_highest_plan_that_fits(budget_gib: int, residences: tuple[object, ...]) -> None:
    plan = plan_memory(budget_gib * GIB, STAGES)
    assert plan.residences == residences
    assert plan.peak_bytes <= budget_gib * GIB


def test_a_streamed_transformer_keeps_as_many_blocks_as_fit() -> None:
    plan = plan_memory(18 * GIB, STAGES)
    blocks = plan["diffusion transformer"].num_blocks
    one_more = STAGES[2].bytes_at_work(streamed(blocks + 1))
    assert plan.peak_bytes <= 18 * GIB < one_more


def test_a_budget_below_the_lowest_plan_is_refused_with_what_it_takes() -> None:
    with pytest.raises(InputError) as caught:
        plan_memory(5 * GIB, STAGES)
    problem = caught.value.problems[0]
    assert problem.where == "--max-memory"
    assert problem.what == "allows 5.0 GiB, but the diffusion transformer takes about 11.2 GiB at the least."


def test_every_step_down_needs_less_and_the_last_streams_two_blocks() -> None:
    plan: MemoryPlan | None = plan_memory(None, STAGES)
    plans = []
    while plan is not None:
        plans.append(plan)
        plan = step_down(plan)
    assert len(plans) > 4
    assert len({str(plan) for plan in plans}) == len(plans)
    for before, after in pairwise(plans):
        assert after.peak_bytes <= before.peak_bytes
        assert sum(after.needs) < sum(before.needs)
        assert all(new.where >= old.where for old, new in zip(before.residences, after.residences, strict=True))
    assert plans[-1].residences == (streamed(2), PARKED, streamed(2))
    assert str(plans[0]) == "everything on the device"
    assert str(plans[1]) == "text encoder in host memory while idle"
    assert str(plans[2]) == "text encoder, tokenizer and diffusion transformer in host memory while idle"


def test_steps_start_at_the_plan_of_a_budget_too() -> None:
    below = step_down(plan_memory(18 * GIB, STAGES))
    assert below is not None
    assert below["diffusion transformer"].where == Where.STREAMED
    assert below["diffusion transformer"].num_blocks == 7


class Doubling(nn.Module):
    """A network of four blocks, each of which doubles."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(32, 32, bias=False) for _ in range(4))
        self.requires_grad_(False)
        for weight in self.parameters():
            weight.copy_(2 * torch.eye(32))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def test_a_run_that_runs_out_of_memory_is_done_again_with_the_same_result(capsys: pytest.CaptureFixture[str]) -> None:
    net, block_bytes = Doubling(), 4 * 32 * 32
    stages = (Stage("diffusion transformer", (size_of(net),)),)
    memory = DeviceMemory(limit_bytes=4 * block_bytes)
    plan, attempts = plan_memory(None, stages), []
    placement = Placement([net], torch.device("cpu"), plan["diffusion transformer"], memory)

    def run() -> Tensor:
        attempts.append(placement.residence)
        with placement.at_work(working_bytes=2 * block_bytes):
            return net(torch.ones(3, 32))

    output.configure(speaking=True)
    try:
        found = DESCENT.run(run, plan, lambda plan: placement.lower(plan["diffusion transformer"]))
        notices = output.notices()
    finally:
        output.configure(speaking=False)
    assert torch.equal(found, torch.full((3, 32), 16.0))
    assert attempts == [RESIDENT, streamed(2)]
    assert memory.num_bytes == 0
    assert notices == [
        "out of memory: tried again with diffusion transformer passing through in blocks, 2 at a time",
    ]
    assert "out of memory" in capsys.readouterr().err


def test_at_the_end_of_the_ladder_the_error_says_what_to_do() -> None:
    plan, applied = plan_memory(14 * GIB, STAGES), []

    def run() -> None:
        raise torch.OutOfMemoryError("no")

    with pytest.raises(CosmosError) as caught:
        DESCENT.run(run, plan, applied.append)
    assert applied[-1].residences == (streamed(2), PARKED, streamed(2))
    [problem] = caught.value.problems
    assert problem.what.startswith("the device has too little memory, even with tokenizer in host memory while idle; ")
    assert problem.fix is not None and "smaller or shorter video" in problem.fix


def test_a_process_that_others_wait_for_ends_and_says_how_all_can_start_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run() -> None:
        raise torch.OutOfMemoryError("no")

    among_others, plan = (
        Descent(torch.device("cpu"), is_alone=False, words=lambda plan: f"<{plan}>"),
        plan_memory(None, STAGES),
    )
    applied: list[MemoryPlan] = []
    with pytest.raises(OutOfMemory) as caught:
        among_others.run(run, plan, applied.append)
    assert applied == []
    below = "<text encoder in host memory while idle>"
    assert caught.value.below == below
    assert caught.value.problems[0].what == "the device has too little memory with <everything on the device>."
    assert caught.value.problems[0].fix == f"Start all workers again with COSMOS_MEMORY_STEPS=1: {below}."
    monkeypatch.setenv("COSMOS_MEMORY_STEPS", "3")
    with pytest.raises(OutOfMemory, match="COSMOS_MEMORY_STEPS=4"):
        among_others.run(run, plan, applied.append)
    # below the lowest plan there is nothing to start again with
    with pytest.raises(OutOfMemory, match="too little memory, even with <") as lowest:
        among_others.run(run, lowest_plan(STAGES), applied.append)
    assert lowest.value.below is None


@pytest.mark.parametrize("steps", ["-1", "two", "1.5", "²"])
def test_a_number_of_steps_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, steps: str) -> None:
    monkeypatch.setenv("COSMOS_MEMORY_STEPS", steps)
    with pytest.raises(InputError, match=r"COSMOS_MEMORY_STEPS.*is not a number of steps"):
        read_steps()


def test_all_plan_for_the_process_that_has_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    free_bytes = {0: 60 * GIB, 1: 12 * GIB}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_bytes[device.index], 80 * GIB))

    def planned(index: int, others: Sequence[int] = ()) -> MemoryPlan:
        def least(own: int) -> int:  # asked for budgets, of which there are none, and for what is free
            return min([own, *(free_bytes[other] for other in others if own < 1 << 60)])

        return plan_for_device(torch.device("cuda", index), None, STAGES, least=least)

    assert planned(0) != planned(1)
    assert planned(0, others=[1]) == planned(1, others=[0]) == planned(1)


def test_a_gpu_that_others_fill_is_refused_where_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    free_bytes, own_bytes, gpu = 2 * GIB, 0, torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_bytes, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: own_bytes)
    plan_for_device(gpu, None, STAGES)  # the run finds out
    with avoiding_others():
        with pytest.raises(TooLittleMemory, match=r"has 2.0 GiB of 80.0 GiB free, and about .* others use it"):
            plan_for_device(gpu, None, STAGES)
        with pytest.raises(TooLittleMemory):
            plan_for_device(gpu, 40 * GIB, STAGES)
        own_bytes = 77 * GIB  # no other is to blame
        plan_for_device(gpu, None, STAGES)
        free_bytes, own_bytes = 60 * GIB, 0
        plan_for_device(gpu, None, STAGES)


def test_other_errors_pass_through_at_once() -> None:
    attempts = []

    def run() -> None:
        attempts.append(1)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        DESCENT.run(run, plan_memory(None, STAGES), lambda plan: None)
    assert len(attempts) == 1


def test_memory_of_a_failed_run_is_free_when_it_is_done_again() -> None:
    alive: list[bool] = []
    held: list[weakref.ref[Tensor]] = []

    def run() -> None:
        if held:
            alive.append(held[0]() is not None)
            return
        large = torch.zeros(1000)
        held.append(weakref.ref(large))
        raise RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)")

    DESCENT.run(run, plan_memory(None, STAGES), lambda plan: None)
    assert alive == [False]


def test_a_cpu_can_stand_for_a_small_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert limit_device(cpu).limit_bytes is None
    assert limit_device(cpu, 3 * GIB).limit_bytes == 3 * GIB
    monkeypatch.setenv("COSMOS_SIMULATED_DEVICE_MEMORY", "40MiB")
    assert limit_device(cpu).limit_bytes == 40 * 2**20
    assert limit_device(cpu, 3 * GIB).limit_bytes == 40 * 2**20
    monkeypatch.setenv("COSMOS_SIMULATED_DEVICE_MEMORY", "small")
    with pytest.raises(InputError) as caught:
        limit_device(cpu)
    assert caught.value.problems[0].where == "COSMOS_SIMULATED_DEVICE_MEMORY"
