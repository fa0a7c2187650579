"""Ranks that train together against one process: the same loss and the same gradient of every parameter."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from cosmos_cli.training.parallel import Parallel, total_norm
from cosmos_cli.training.recipe import ParallelRecipe
from tests.processes import run_together
from tests.training.parallel_cases import TASKS, TinyTask

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
CASES = [("general", layout) for layout in LAYOUTS] + [
    (task, layout) for task in TASKS if task != "general" for layout in ("cp2", "tp2", "cp2 tp2")
]


def gradients(task: TinyTask, parallel: Parallel, clips: list[int]) -> dict[str, Any]:
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


def together(cases: list[tuple[str, str]]) -> dict[str, Any]:
    """The gradients of every case, with clip 0 on the first data-parallel rank, and so on."""
    results = {}
    with torch.inference_mode(False), torch.enable_grad():
        for kind, layout in cases:
            parallel = Parallel.form(ParallelRecipe(**LAYOUTS[layout]), CPU, "float32")
            task = TASKS[kind]()
            parallel.wrap(task)
            results[f"{kind} {layout}"] = gradients(task, parallel, [parallel.dp_rank]) | {"dp": parallel.dp_size}
    return results


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_together(WORLD_SIZE, partial(together, CASES), tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("kind, layout", CASES)
def test_every_gradient_is_that_of_one_process(ranks: list[dict[str, Any]], kind: str, layout: str) -> None:
    results = [rank[f"{kind} {layout}"] for rank in ranks]
    expected = alone(kind, list(range(results[0]["dp"])))
    assert results[0]["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert len({result["norm"] for result in results}) == 1
    assert results[0]["norm"] == pytest.approx(expected["norm"], rel=1e-5)
    for result in results:
        assert result["gradients"].keys() == expected["gradients"].keys()
        for name, gradient in expected["gradients"].items():
            largest = float(gradient.abs().max())
            torch.testing.assert_close(
                result["gradients"][name], gradient, rtol=0, atol=1e-5 * largest, msg=f"{name} differs"
            )
