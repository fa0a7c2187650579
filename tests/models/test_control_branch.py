"""Control branches: their residuals, and how several act together; `tests/parity` compares them with the original."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cosmos_cli.checkpoints.keys import Naming
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.models.configs import ControlBranchConfig, GeneralDiTConfig
from cosmos_cli.models.control_branch import ControlBranch, sum_residuals
from cosmos_cli.models.general_dit import GeneralDiT

SIZE: dict[str, Any] = {"model_channels": 48, "num_heads": 2, "crossattn_emb_channels": 24, "adaln_lora_dim": 8}
LIMITS: dict[str, Any] = {"max_img_h": 16, "max_img_w": 16, "max_frames": 8}
BASE = GeneralDiTConfig(num_blocks=3, **SIZE, **LIMITS, rope_t_extrapolation_ratio=2.0)
BRANCH = ControlBranchConfig(num_blocks=2, **SIZE, **LIMITS, hint_channels=32)
GRID = (3, 3, 4)


def randomised(net: Any, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return net.eval()


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs() -> dict[str, Any]:
    return {
        "x_BCTHW": noise(1, 16, 3, 6, 8),
        "timesteps_B": noise(1),
        "text": noise(1, 5, 24),
        "condition_mask_B1THW": torch.ones(1, 1, 3, 6, 8),
        "fps": 24,
    }


def residuals_of(seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [noise(1, *GRID, 48, seed=10 * seed + i).to(dtype) for i in range(2)]


def never() -> Iterator[Tensor]:
    raise AssertionError("computed")
    yield


def test_full_size_branches_have_the_published_number_of_parameters_and_no_buffers() -> None:
    config = ControlBranchConfig(model_channels=4096, num_blocks=3, num_heads=32)
    with torch.device("meta"):
        video = ControlBranch(config)
        text = ControlBranch(replace(config, condition_mask=False, hint_channels=16))
    assert sum(p.numel() for p in video.parameters()) == 893_497_120
    assert sum(p.numel() for p in text.parameters()) == 891_645_728
    assert not dict(video.named_buffers())


def test_one_file_can_hold_a_network_and_its_branch(tmp_path: Path) -> None:
    base, branch = randomised(GeneralDiT(BASE)), randomised(ControlBranch(BRANCH), seed=1)
    networks: dict[str, Any] = {"net.base_model.net.": base, "net.net_ctrl.": branch}
    weights = {f"{p}{name}": tensor for p, network in networks.items() for name, tensor in network.state_dict().items()}
    torch.save(weights, tmp_path / "distilled.pt")
    for prefix, network in networks.items():
        others = [f"{other}*" for other in networks if other != prefix]
        loaded = load_network(
            partial(network.__class__, network.config),
            tmp_path / "distilled.pt",
            naming=Naming((prefix,), beside=tuple(others)),
        )
        assert all(torch.equal(loaded.state_dict()[key], tensor) for key, tensor in network.state_dict().items())


def test_a_hint_is_filled_up_with_zero_channels_in_front_of_the_padding_mask() -> None:
    branch = randomised(ControlBranch(BRANCH))
    hint, padding = noise(1, 16, 3, 6, 8), torch.ones(1, 1, 48, 64)
    guided = branch.encode_hint(hint, padding)
    channels = torch.cat([hint, torch.zeros(1, 16, 3, 6, 8), torch.ones(1, 1, 3, 6, 8)], dim=1)
    torch.testing.assert_close(guided, branch.input_hint_block(branch.x_embedder2(channels)))
    assert not torch.allclose(guided, branch.encode_hint(hint))
    with pytest.raises(ValueError, match="a hint of 33 channels for a branch of 32"):
        branch.encode_hint(torch.zeros(1, 33, 3, 6, 8))


def test_the_hint_enters_after_the_first_block_only() -> None:
    branch, given = randomised(ControlBranch(BRANCH)), inputs()
    hint = branch.encode_hint(noise(1, 16, 3, 6, 8, seed=2))
    x = branch.embed(given["x_BCTHW"], given["condition_mask_B1THW"])
    emb, lora = branch.embed_timesteps(given["timesteps_B"])
    rope, positions = branch.rotary_table(GRID, fps=24), branch.position_embedding(GRID)
    x = branch.blocks["block0"](x, emb, lora, given["text"], rope, positions) + hint
    expected = [branch.zero_blocks["block0"](x)]
    x = branch.blocks["block1"](x, emb, lora, given["text"], rope, positions)
    expected.append(branch.zero_blocks["block1"](x))
    once = {"text": branch.encode_text(given["text"]), "rope": rope, "positions_THWD": positions}
    with torch.inference_mode():
        for options in ({}, once):
            residuals = branch(**given | options, guided_hint_BTHWD=hint)
            torch.testing.assert_close(residuals, tuple(expected), atol=1e-5, rtol=1e-5)


def test_encoded_hints_are_left_alone_and_may_serve_a_whole_batch() -> None:
    branch, given = randomised(ControlBranch(BRANCH)), inputs()
    hint = branch.encode_hint(noise(1, 16, 3, 6, 8, seed=2))
    before = hint.clone()
    twice = {name: torch.cat([value, value]) if isinstance(value, Tensor) else value for name, value in given.items()}
    with torch.inference_mode():
        for one, two in zip(
            branch(**given, guided_hint_BTHWD=hint), branch(**twice, guided_hint_BTHWD=hint), strict=True
        ):
            torch.testing.assert_close(two, torch.cat([one, one]), atol=1e-5, rtol=1e-5)
    assert torch.equal(hint, before)


def test_a_branch_whose_zero_blocks_are_zero_changes_nothing() -> None:
    base, branch, given = randomised(GeneralDiT(BASE)), randomised(ControlBranch(BRANCH), seed=1), inputs()
    for layer in branch.zero_blocks.values():
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    hint = branch.encode_hint(noise(1, 16, 3, 6, 8, seed=2))
    with torch.inference_mode():
        steered = base(
            **given, control_residuals=sum_residuals([(1.0, branch.residuals(**given, guided_hint_BTHWD=hint))])
        )
        assert torch.equal(steered, base(**given))


def test_training_a_branch_reaches_every_parameter_it_uses() -> None:
    base, branch, given = randomised(GeneralDiT(BASE)), randomised(ControlBranch(BRANCH), seed=1), inputs()
    hint = branch.encode_hint(noise(1, 16, 3, 6, 8, seed=2))
    residuals = sum_residuals([(0.5, branch.residuals(**given, guided_hint_BTHWD=hint))])
    base(**given, control_residuals=residuals).square().mean().backward()
    untouched = {key.partition(".")[0] for key, parameter in branch.named_parameters() if parameter.grad is None}
    assert untouched == {"final_layer"}


def test_each_product_and_sum_is_rounded_in_the_order_of_the_controls() -> None:
    first, second, third = (residuals_of(seed, torch.bfloat16) for seed in range(3))
    weight_map = torch.rand(1, 1, *GRID, generator=torch.Generator().manual_seed(5)).bfloat16()
    with torch.inference_mode():
        totals = list(sum_residuals([(0.30078125, first), (weight_map, second), (torch.tensor(0.5), third)]))
    for total, a, b, c in zip(totals, first, second, third, strict=True):
        assert total.dtype == torch.bfloat16
        assert torch.equal(total, (a * 0.30078125 + b * weight_map[0, 0, ..., None]) + c * 0.5)


def test_a_constant_map_is_its_number() -> None:
    with torch.inference_mode():
        by_map = list(sum_residuals([(torch.full((1, 1, *GRID), 0.25), residuals_of(1))]))
        by_number = list(sum_residuals([(0.25, residuals_of(1))]))
    assert all(torch.equal(*pair) for pair in zip(by_map, by_number, strict=True))


def test_controls_without_weight_are_never_computed() -> None:
    nothing: list[tuple[float | Tensor, Iterator[Tensor]]] = [
        (0.0, never()),
        (torch.zeros(1, 1, *GRID), never()),
        (torch.tensor(0.0), never()),
    ]
    assert list(sum_residuals(nothing)) == []
    totals = list(sum_residuals([*nothing, (1.0, iter(residuals_of(1)))]))
    assert all(torch.equal(*pair) for pair in zip(totals, residuals_of(1), strict=True))
    sum_residuals([(1.0, never())])  # nor is anything before it is asked for


def test_residuals_are_not_overwritten_and_sums_are_not_kept() -> None:
    given, before = residuals_of(1), residuals_of(1)
    with torch.inference_mode():
        totals = sum_residuals([(1.0, given), (1.0, residuals_of(2))])
        total = weakref.ref(next(totals))
        assert total() is None
        list(totals)
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))
