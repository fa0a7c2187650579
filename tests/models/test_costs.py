"""What is counted before a network is built, against what torch counts while the network runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5Config, T5EncoderModel

from cosmos_cli.models import control_branch
from cosmos_cli.models.configs import (
    ControlBranchConfig,
    CosmosTokenizerConfig,
    DiTConfig,
    GeneralDiTConfig,
    MinimalDiTConfig,
    WanVAEConfig,
)
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.costs import (
    HINT_WIDTHS,
    TEXT_TOKENS,
    ControlShape,
    CosmosTokenizerShape,
    DiTShape,
    T5Shape,
    WanVAEShape,
)
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.t5 import NUM_TOKENS
from cosmos_cli.models.wan_vae import WanVAE

DIT = {"model_channels": 48, "num_blocks": 2, "num_heads": 2, "crossattn_emb_channels": 32, "adaln_lora_dim": 8}
GRID, LATENTS = (3, 4, 6), (1, 16, 3, 8, 12)


def flops(run: Callable[[], Any]) -> float:
    # torch counts the products of written-out attention, not the CPU's fused kernel
    with torch.no_grad(), sdpa_kernel([SDPBackend.MATH]), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def near(expected: float) -> Any:
    return pytest.approx(expected, rel=0.02)


def test_defaults_are_those_of_the_networks() -> None:
    config = {field.name: field.default for field in fields(DiTConfig)}
    shape = {field.name: field.default for field in fields(DiTShape)}
    assert shape == {name: config[name] for name in shape}
    assert (HINT_WIDTHS, TEXT_TOKENS) == (control_branch.HINT_WIDTHS, NUM_TOKENS)
    assert WanVAEShape(**vars(WanVAEConfig())) == WanVAEShape()


@pytest.mark.parametrize("use_adaln_lora", [True, False])
def test_a_minimal_dit(use_adaln_lora: bool) -> None:
    config = {**DIT, "use_adaln_lora": use_adaln_lora}
    network, shape = MinimalDiT(MinimalDiTConfig(**config)), DiTShape.of(config)
    context = torch.randn(1, TEXT_TOKENS, 32)
    text = network.encode_text(context)
    assert shape.parameters == parameters(network)
    assert shape.text_flops() == near(flops(lambda: network.encode_text(context)))
    assert shape.pass_flops(GRID, modulations=3) == near(
        flops(lambda: network(torch.randn(LATENTS), torch.rand(1, 3), text))
    )
    stored = sum(tensor.numel() for pair in text.keys_values for tensor in pair)
    assert shape.text_elements() == stored


@pytest.mark.parametrize("condition_mask", [True, False])
def test_a_general_dit_and_its_branch(condition_mask: bool) -> None:
    config = {**DIT, "condition_mask": condition_mask, "max_img_h": 16, "max_img_w": 16, "max_frames": 8}
    base = GeneralDiT(GeneralDiTConfig(**config))
    branch = ControlBranch(ControlBranchConfig(**config, hint_channels=16))
    positions = {"extra_per_block_abs_pos_emb": True}
    shape, of_branch = DiTShape.of(config, **positions), ControlShape.of(config, **positions, hint_channels=16)
    x, context, sigma = torch.randn(LATENTS), torch.randn(1, TEXT_TOKENS, 32), torch.rand(1)
    text, own_text, hint = base.encode_text(context), branch.encode_text(context), branch.encode_hint(x)
    assert (shape.parameters, of_branch.parameters) == (parameters(base), parameters(branch))
    assert shape.pass_flops(GRID) == near(flops(lambda: base(x, sigma, text, fps=24)))
    assert of_branch.pass_flops(GRID) == near(flops(lambda: branch(x, sigma, own_text, hint, fps=24)))
    assert of_branch.hint_flops(GRID) == near(flops(lambda: branch.encode_hint(x)))


@pytest.mark.parametrize("num_latents", [1, 4])
def test_the_wan_tokenizer(num_latents: int) -> None:
    network, shape = WanVAE(WanVAEConfig(dim=8)), WanVAEShape(dim=8)
    video = torch.randn(1, 3, network.num_frames(num_latents), 32, 48)
    latents = torch.randn(1, 16, num_latents, 4, 6)
    assert shape.parameters == parameters(network)
    assert shape.encode(video.shape[2], 32, 48).flops == near(flops(lambda: network.encode(video)))
    assert shape.decode(num_latents, 4, 6).flops == near(flops(lambda: network.decode(latents)))


@pytest.mark.parametrize(
    "config", [{"channels": 16}, {"channels": 16, "channels_mult": (1, 2, 2), "num_res_blocks": 1}]
)
@pytest.mark.parametrize("num_latents", [1, 3])
def test_the_cosmos_tokenizer(config: dict[str, Any], num_latents: int) -> None:
    network, shape = CosmosTokenizer(CosmosTokenizerConfig(**config)), CosmosTokenizerShape(**config)
    video = torch.randn(1, 3, network.num_frames(num_latents), 32, 48)
    latents = torch.randn(1, 16, num_latents, 4, 6)
    assert shape.parameters == parameters(network)
    assert shape.encode(num_latents, 32, 48).flops == near(flops(lambda: network.encode(video)))
    assert shape.decode(num_latents, 4, 6).flops == near(flops(lambda: network.decode(latents)))


def test_the_text_encoder() -> None:
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 2, "vocab_size": 50}
    network, shape = T5EncoderModel(T5Config(**sizes)), T5Shape(**sizes)
    tokens = torch.zeros(1, TEXT_TOKENS, dtype=torch.long)
    assert shape.parameters == parameters(network)
    assert shape.flops() == near(flops(lambda: network(input_ids=tokens)))


def test_published_sizes_follow_from_the_numbers_of_the_variants() -> None:
    # the sizes that the model cards give
    assert DiTShape(2048, 28, 16).parameters == pytest.approx(1.96e9, rel=0.01)
    assert DiTShape(5120, 36, 40).parameters == pytest.approx(14.3e9, rel=0.01)
    assert T5Shape().parameters == pytest.approx(4.86e9, rel=0.01)
