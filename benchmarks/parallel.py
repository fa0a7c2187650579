"""A network with a control branch on 1, 2 and 4 processes of one thread each, over gloo, on the CPU.

`python -m benchmarks.parallel` checks that all compute the same, then prints what a process sends for a block beside
the formula of an all-to-all, 4 * tokens * width * (N - 1) / N numbers for the tokens that each of N processes holds,
and the time of a prediction beside that of one process: below 1 is better. More processes than cores take turns.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.models.configs import ControlBranchConfig, GeneralDiTConfig
from cosmos_cli.models.context_parallel import parallelise
from cosmos_cli.models.control_branch import ControlBranch, sum_residuals
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.runtime.workers.layout import Layout
from cosmos_cli.runtime.workers.mesh import axis_group, in_halves, make_mesh
from tests.processes import Exchanges, run_together

SIZE: dict[str, Any] = {"model_channels": 512, "num_heads": 8}
NUM_BLOCKS, NUM_BRANCH_BLOCKS = 4, 2
# 13 x 21 patches per frame, which neither 2 nor 4 divides
NUM_FRAMES, HEIGHT, WIDTH, TEXT_TOKENS, FPS = 6, 26, 42, 128, 24
NUM_REPEATS = 5
LAYOUTS = (Layout(), Layout(cp=2), Layout(cfg=2), Layout(cp=4), Layout(cfg=2, cp=2))
MIB = 2**20


def build(layout: Layout) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """One prediction with a control, and a guided one, by the processes of a layout together."""
    mesh = make_mesh(layout, torch.device("cpu"))
    base = GeneralDiT(GeneralDiTConfig(num_blocks=NUM_BLOCKS, **SIZE)).eval()
    branch = ControlBranch(ControlBranchConfig(num_blocks=NUM_BRANCH_BLOCKS, **SIZE)).eval()
    torch.manual_seed(0)
    for network in (base, branch):
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.02)
        parallelise(network, axis_group(mesh, "cp"))
    x, hint = torch.randn(2, 1, 16, NUM_FRAMES, HEIGHT, WIDTH)
    prompt, negative = torch.randn(2, 1, TEXT_TOKENS, 1024)
    guided_hint = branch.encode_hint(hint)

    def predict(text: Tensor) -> Tensor:
        given: dict[str, Any] = {"x_BCTHW": x, "timesteps_B": torch.zeros(1), "text": text, "fps": FPS}
        residuals = branch.residuals(**given, guided_hint_BTHWD=guided_hint)
        return base(**given, control_residuals=sum_residuals([(1.0, residuals)], base.context))

    def guided() -> Tensor:
        halves = in_halves(lambda: predict(prompt), lambda: predict(negative), axis_group(mesh, "cfg"))
        return guide(*halves, 7.0)

    return partial(predict, prompt), guided


def measure(layout: Layout) -> dict[str, Any]:
    """What this process sends for a block, the guided prediction, and the median seconds of one."""
    predict, guided = build(layout)
    with Exchanges(layout.cp) as exchanges:
        predict()
    sent = sum(call.num_bytes for call in exchanges.calls if call.name == "alltoall_base_")
    seconds = []
    for _ in range(NUM_REPEATS):
        dist.barrier()
        start = time.perf_counter()
        prediction = guided()
        seconds.append(time.perf_counter() - start)
    return {
        "bytes_per_block": sent / (NUM_BLOCKS + NUM_BRANCH_BLOCKS),
        "prediction": prediction,
        "seconds": statistics.median(seconds),
    }


def formula_bytes(num_ranks: int) -> float:
    """Bytes of float32 that one of the ranks sends for a block."""
    tokens = NUM_FRAMES * -(-(HEIGHT // 2) * (WIDTH // 2) // num_ranks)
    return 4 * tokens * SIZE["model_channels"] * (num_ranks - 1) / num_ranks * 4


def run() -> list[dict[str, Any]]:
    """Rows with `name`, `ours`, `peer`, `ratio` (ours / peer, below 1 is better) and `unit`."""
    results = {}
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            # the slowest process ends the prediction
            results[layout] = max(
                run_together(layout.world_size, partial(measure, layout), Path(folder)), key=lambda r: r["seconds"]
            )
    alone = results[Layout()]
    rows = []
    for layout, result in results.items():
        if layout.world_size == 1:
            continue
        expected = alone["prediction"]
        torch.testing.assert_close(result["prediction"], expected, atol=1e-4 * float(expected.std()), rtol=0)
        if layout.cp > 1:
            sent, formula = result["bytes_per_block"] / MIB, formula_bytes(layout.cp) / MIB
            rows.append(_row(f"{layout}: sent per block, beside the formula", sent, formula, "MiB"))
        name = f"{layout}: guided step on {os.cpu_count()} cores, beside 1 process"
        rows.append(_row(name, result["seconds"], alone["seconds"], "s"))
    return rows


def _row(name: str, ours: float, peer: float, unit: str) -> dict[str, Any]:
    return {"name": f"parallel, {name}", "ours": ours, "peer": peer, "ratio": ours / peer, "unit": unit}


def main() -> None:
    for row in run():
        print(f"{row['name']:72} {row['ours']:8.3f} {row['peer']:8.3f} {row['unit']:4} {row['ratio']:6.3f}", flush=True)


if __name__ == "__main__":
    main()
