"""What networks are said to take beside their weights while they work, beside what torch is seen to allocate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from cosmos_cli.generation.settings import DIT
from cosmos_cli.generation.work import CPU_SCRATCH, Networks, Rig, Work
from cosmos_cli.models.configs import ControlBranchConfig, CosmosTokenizerConfig, GeneralDiTConfig, MinimalDiTConfig
from cosmos_cli.models.control_branch import ControlBranch, sum_residuals
from cosmos_cli.models.costs.dit import DiTCost, cost_of
from cosmos_cli.models.costs.text import TEXT_TOKENS
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.minimal_dit import MinimalDiT

SHAPE: dict[str, Any] = {"model_channels": 128, "num_blocks": 2, "num_heads": 2, "adaln_lora_dim": 8}
CLIP_PX, LATENTS, GRID = (9, 256, 256), (2, 32, 32), (2, 16, 16)


def allocated(call: Callable[[], object]) -> int:
    """The most bytes that a call holds at once."""
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = call()
    assert profiler.profiler is not None and result is not None
    changes = [
        (event.start_ns(), event.nbytes())
        for event in profiler.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    held = peak = 0
    for _, num_bytes in sorted(changes, key=lambda change: change[0]):
        held += num_bytes
        peak = max(peak, held)
    return peak


def estimated(dit: DiTCost, dtype: torch.dtype, *, num_branches: int = 0) -> int:
    """Of a step under guidance, without what the sampler holds, whose steps are not made here."""
    branches = {Path(f"{number}.pt"): cost_of(ControlBranchConfig(**SHAPE)) for number in range(num_branches)}
    networks = Networks(dit, tokenizer_cost_of(CosmosTokenizerConfig()), branches)
    work = Work(networks, CLIP_PX, num_passes=2, num_contexts=2, num_states=0)
    assert work.latents_THW == LATENTS
    return work.working_bytes(Rig(dtype.itemsize, scratch=CPU_SCRATCH))[DIT]


def randomised(network: Any, dtype: torch.dtype) -> Any:
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.02)
    return network.to(dtype).eval().requires_grad_(False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_branches", [0, 1, 2])
def test_denoising_takes_no_more_than_is_estimated(num_branches: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    config = GeneralDiTConfig(**SHAPE)
    base = randomised(GeneralDiT(config), dtype)
    branches = [randomised(ControlBranch(ControlBranchConfig(**SHAPE)), dtype) for _ in range(num_branches)]
    x, times = torch.randn(1, 16, *LATENTS, dtype=dtype), torch.rand(1, dtype=dtype)
    context = torch.randn(1, TEXT_TOKENS, 1024, dtype=dtype)

    def denoise() -> object:
        kept: list[Any] = []
        for network in (base, *branches):
            texts = [network.encode_text(context) for _ in range(2)]
            tables = {"rope": network.rotary_table(GRID, fps=24), "positions_THWD": network.position_embedding(GRID)}
            kept.append((texts, tables))
        hints = [branch.encode_hint(x) for branch in branches]
        residuals = [
            (0.5, branch.residuals(x, times, texts[0], hint, **tables))
            for branch, hint, (texts, tables) in zip(branches, hints, kept[1:], strict=True)
        ]
        texts, tables = kept[0]
        return base(x, times, texts[0], **tables, control_residuals=sum_residuals(residuals))

    actual, planned = allocated(denoise), estimated(cost_of(config), dtype, num_branches=num_branches)
    assert actual <= planned <= 1.5 * actual


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_minimal_network_takes_no_more_than_is_estimated(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    config = MinimalDiTConfig(**SHAPE)
    net = randomised(MinimalDiT(config), dtype)
    x, times = torch.randn(1, 16, *LATENTS, dtype=dtype), torch.rand(1, 1, dtype=dtype)
    context = torch.randn(1, TEXT_TOKENS, 1024, dtype=dtype)

    def denoise() -> object:
        texts, rope = [net.encode_text(context) for _ in range(2)], net.rotary_table(GRID)
        return net(x, times, texts[0], rope=rope)

    actual, planned = allocated(denoise), estimated(cost_of(config), dtype)
    assert actual <= planned <= 1.5 * actual
