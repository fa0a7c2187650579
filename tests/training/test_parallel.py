"""Ranks that train together against one process: the same loss and the same gradient of every parameter."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.distributed import checkpoint as distributed_checkpoint
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.tensor import DTensor

from cosmos_cli.errors import InputError
from cosmos_cli.training import recompute
from cosmos_cli.training.gradients import clear_non_finite, groups, scale_gradients, total_norm
from cosmos_cli.training.parallel import Parallel
from cosmos_cli.training.recipe import ParallelRecipe
from tests.processes import run_together
from tests.training.parallel_cases import TASKS

CPU = torch.device("cpu")
WORLD_SIZE = 4
LAYOUTS: dict[str, dict[str, Any]] = {
    "shards": {"activation_checkpointing": "none"},
    "copies": {"shard": 2, "activation_checkpointing": "block"},
    "cp2": {"cp": 2},
    "cp4": {"cp": 4},
    "tp2": {"tp": 2},
    "tp4": {"tp": 4, "activation_checkpointing": "none"},
    "cp2 tp2": {"cp": 2, "tp": 2, "activation_checkpointing": "block"},
}
CASES = [("general", layout) for layout in LAYOUTS]
CASES += [(task, layout) for task in ("multiview", "minimal", "control") for layout in ("tp2", "cp2 tp2")]
CASES += [(task, "cp2 tp2") for task in ("cameras", "action", "adapters")]
NEMO_LAYOUT = {"tp": 2, "activation_checkpointing": "none"}
RATE = 0.01


def gradients(task: Any, parallel: Parallel, clips: list[int]) -> dict[str, Any]:
    """What one step leaves, before it is clipped."""
    losses = []
    for clip in clips:
        parallel.accumulating(task, last=clip == clips[-1])
        loss = task.loss(clip) / len(clips)
        loss.backward()
        losses.append(loss.detach())
    return {
        "loss": float(parallel.mean(torch.stack(losses).sum())),
        "norm": float(total_norm(task.networks.parameters())),
        "gradients": {
            name: _whole(parameter.grad).clone()
            for name, parameter in task.networks.named_parameters()
            if parameter.grad is not None
        },
    }


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def alone(kind: str, clips: list[int]) -> dict[str, Any]:
    task = TASKS[kind]()
    parallel = Parallel.form(ParallelRecipe(activation_checkpointing="none"), CPU, "float32")
    parallel.wrap(task)
    return gradients(task, parallel, clips)


def clips_of(layout: str, dp_rank: int, dp_size: int) -> list[int]:
    """Of a rank; where there are copies of the parameters, two after another."""
    return [dp_rank, dp_rank + dp_size] if layout == "copies" else [dp_rank]


def together(cases: list[tuple[str, str]], folder: Path) -> dict[str, Any]:
    """What every case gives, and a step of a layout that is cut twice, saved in a folder."""
    results: dict[str, Any] = {}
    with torch.inference_mode(False), torch.enable_grad():
        formed = {name: Parallel.form(ParallelRecipe(**layout), CPU, "float32") for name, layout in LAYOUTS.items()}
        for kind, layout in cases:
            parallel = formed[layout]
            task = TASKS[kind]()
            parallel.wrap(task)
            clips = clips_of(layout, parallel.dp_rank, parallel.dp_size)
            results[f"{kind} {layout}"] = gradients(task, parallel, clips) | {"dp": parallel.dp_size}
            if (kind, layout) == ("general", "tp2"):
                step(task)
                state = get_model_state_dict(task.networks)
                distributed_checkpoint.save(state, checkpoint_id=folder)
        task = TASKS["nemo"]()
        parallel = replace(formed["tp2"], recipe=ParallelRecipe(**NEMO_LAYOUT))
        parallel.wrap(task)
        results["nemo"] = gradients(task, parallel, [0])
    return results


def step(task: Any) -> None:
    """One step of the optimizer on half the gradients, one entry of which is no number."""
    parameters = list(task.networks.parameters())
    next(task.networks["logvar"].parameters()).grad.mul_(torch.nan)
    clear_non_finite(parameters)
    scale_gradients(parameters, torch.tensor(0.5))
    torch.optim.AdamW(groups(task.networks.named_parameters()), lr=RATE, foreach=True).step()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("saved")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory, saved: Path) -> list[dict[str, Any]]:
    return run_together(WORLD_SIZE, partial(together, CASES, saved), tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("kind, layout", CASES)
def test_every_gradient_is_that_of_one_process(ranks: list[dict[str, Any]], kind: str, layout: str) -> None:
    results = [rank[f"{kind} {layout}"] for rank in ranks]
    dp = results[0]["dp"]
    expected = alone(kind, sorted(clip for rank in range(dp) for clip in clips_of(layout, rank, dp)))
    assert len({result["norm"] for result in results}) == 1
    assert results[0]["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert results[0]["norm"] == pytest.approx(expected["norm"], rel=1e-5)
    for result in results:
        assert_same(result["gradients"], expected["gradients"], 1e-5)


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], relative: float) -> None:
    """As far as the largest entry of each tensor goes."""
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        largest = float(tensor.abs().max())
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=relative * largest, msg=f"{name} differs")


def test_cut_layers_have_the_true_gradients_of_nemo(ranks: list[dict[str, Any]]) -> None:
    """Which NeMo itself has not: parameters that all ranks hold get the sum, or a part, of their gradients there."""
    outputs, start = TASKS["nemo"]().golden.outputs, "v2w.step0.grad_true."
    true = {key.removeprefix(start): value for key, value in outputs.items() if key.startswith(start)}
    for found in (*(rank["nemo"] for rank in ranks), alone("nemo", [0])):
        assert found["loss"] == pytest.approx(float(outputs["v2w.loss"][0]), rel=1e-5)
        assert_same(found["gradients"], true, 1e-4)


def test_a_step_on_several_meshes_is_that_of_one_process_and_can_be_read_by_one(
    ranks: list[dict[str, Any]], saved: Path
) -> None:
    task = TASKS["general"]()
    parallel = Parallel.form(ParallelRecipe(), CPU, "float32")
    parallel.wrap(task)
    gradients(task, parallel, [0, 1])
    step(task)
    expected = dict(task.networks.named_parameters())
    read = {name: torch.zeros_like(parameter) for name, parameter in expected.items()}
    distributed_checkpoint.load(read, checkpoint_id=saved, no_dist=True)
    for name, parameter in expected.items():
        # a first step of AdamW is the rate wherever there is a gradient, however small
        torch.testing.assert_close(read[name], parameter.detach(), rtol=0, atol=0.02 * RATE, msg=f"{name} differs")


@pytest.mark.parametrize("kind", ["general", "multiview", "minimal", "control"])
def test_masters_compute_what_inference_does_in_bfloat16(kind: str) -> None:
    """Tables are rounded as there: to the bit the same prediction, though the parameters are float32."""
    trained, inference = TASKS[kind](), TASKS[kind]()
    for network in inference.parts():
        network.to(torch.bfloat16)
    parallel = Parallel.form(ParallelRecipe(), CPU, "bfloat16")
    parallel.wrap(trained)
    assert all(parameter.dtype == torch.float32 for parameter in trained.networks.parameters())
    with torch.no_grad():
        expected = inference.predict(inference, 0)
        before = trained.predict(trained, 0)
        assert before.dtype == expected.dtype == torch.bfloat16 and torch.equal(before, expected)
        for ours, theirs in zip(trained.parts(), inference.parts(), strict=True):
            table, its_table = (each.rotary_table((2, 3, 2), fps=10) for each in (ours, theirs))
            assert torch.equal(table.cos_LR, its_table.cos_LR)
    trained.loss(0).backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in trained.networks.parameters())


def test_blocks_are_compiled_and_give_the_same_gradients() -> None:
    task = TASKS["general"]()
    with mock.patch.object(recompute, "_BACKEND", "eager"):
        parallel = Parallel.form(ParallelRecipe(), CPU, "float32")
        parallel.wrap(task, compile=True)
        counters.clear()
        found = gradients(task, parallel, [0])
    assert counters["stats"]["unique_graphs"] and not counters["graph_break"]
    assert_same(found["gradients"], alone("general", [0])["gradients"], 1e-5)


def test_heads_that_ranks_do_not_divide_are_refused() -> None:
    parallel = replace(Parallel.form(ParallelRecipe(), CPU, "float32"), recipe=ParallelRecipe(cp=2, tp=4))
    with pytest.raises(InputError, match="cp 2 x tp 4 does not divide the 4 attention heads"):
        parallel.wrap(TASKS["general"]())
