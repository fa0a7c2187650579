"""What is counted before a network is built, against what torch counts while the network runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5Config, T5EncoderModel

from cosmos_cli.models.configs import (
    ControlBranchConfig,
    CosmosTokenizerConfig,
    DiTConfig,
    GeneralDiTConfig,
    MinimalDiTConfig,
    MultiViewConfig,
    T5EncoderConfig,
    WanVAEConfig,
)
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.costs.text import TEXT_TOKENS, T5Cost
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.multiview_dit import MultiViewDiT
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


def test_texts_are_as_long_as_the_text_encoder_makes_them() -> None:
    assert TEXT_TOKENS == NUM_TOKENS


@pytest.mark.parametrize("use_adaln_lora", [True, False])
def test_a_minimal_dit(use_adaln_lora: bool) -> None:
    network = MinimalDiT(MinimalDiTConfig(**DIT, use_adaln_lora=use_adaln_lora))
    cost = cost_of(network.config)
    context = torch.randn(1, TEXT_TOKENS, 32)
    text = network.encode_text(context)
    assert cost.parameters == parameters(network)
    assert cost.block_parameters == parameters(network.blocks[0])
    assert cost.text_flops() == near(flops(lambda: network.encode_text(context)))
    assert cost.pass_flops(GRID, modulations=cost.modulations(3)) == near(
        flops(lambda: network(torch.randn(LATENTS), torch.rand(1, 3), text))
    )
    stored = sum(tensor.numel() for pair in text.keys_values for tensor in pair)
    assert cost.text_elements() == stored


@pytest.mark.parametrize("condition_mask", [True, False])
def test_a_general_dit_and_its_branch(condition_mask: bool) -> None:
    config = GeneralDiTConfig(**DIT, condition_mask=condition_mask, max_img_h=16, max_img_w=16, max_frames=8)
    base, branch = GeneralDiT(config), ControlBranch(ControlBranchConfig.of(config, hint_channels=16))
    cost, of_branch = cost_of(config), cost_of(branch.config)
    x, context, sigma = torch.randn(LATENTS), torch.randn(1, TEXT_TOKENS, 32), torch.rand(1)
    text, own_text, hint = base.encode_text(context), branch.encode_text(context), branch.encode_hint(x)
    assert (cost.parameters, of_branch.parameters) == (parameters(base), parameters(branch))
    assert of_branch.block_parameters == parameters(branch.blocks["block0"])
    assert cost.pass_flops(GRID, modulations=cost.modulations(3)) == near(flops(lambda: base(x, sigma, text, fps=24)))
    assert of_branch.pass_flops(GRID) == near(flops(lambda: branch(x, sigma, own_text, hint, fps=24)))
    assert of_branch.hint_flops(GRID) == near(flops(lambda: branch.encode_hint(x)))


@pytest.mark.parametrize(
    ("build", "config"),
    [
        (MinimalDiT, MinimalDiTConfig(**DIT, crossattn_proj_in_channels=40, extra_per_block_abs_pos_emb=True)),
        (GeneralDiT, GeneralDiTConfig(**DIT, affline_emb_norm=False, add_augment_sigma_embedding=True)),
        (GeneralDiT, GeneralDiTConfig(**DIT, extra_per_block_abs_pos_emb_type="sincos", legacy_patch_emb=True)),
        (MultiViewDiT, MultiViewConfig(**DIT, n_views=3, add_repeat_frame_embedding=False)),
    ],
)
def test_what_only_some_networks_have_is_counted_too(build: Callable[[Any], nn.Module], config: DiTConfig) -> None:
    assert cost_of(config).parameters == parameters(build(config))


@pytest.mark.parametrize("num_latents", [1, 4])
def test_the_wan_tokenizer(num_latents: int) -> None:
    network = WanVAE(WanVAEConfig(dim=8))
    cost, num_frames = tokenizer_cost_of(network.config), network.num_frames(num_latents)
    video, latents = torch.randn(1, 3, num_frames, 32, 48), torch.randn(1, 16, num_latents, 4, 6)
    assert cost.parameters == parameters(network)
    assert cost.latent_frames(num_frames) == num_latents
    assert cost.encode(num_frames, 32, 48).flops == near(flops(lambda: network.encode(video)))
    assert cost.decode(num_latents, 4, 6).flops == near(flops(lambda: network.decode(latents)))


@pytest.mark.parametrize(
    "config",
    [
        CosmosTokenizerConfig(channels=16),
        CosmosTokenizerConfig(channels=16, channels_mult=(1, 2, 2), num_res_blocks=1),
        CosmosTokenizerConfig(channels=16, spatial_compression=16),
    ],
)
@pytest.mark.parametrize("num_latents", [1, 3])
def test_the_cosmos_tokenizer(config: CosmosTokenizerConfig, num_latents: int) -> None:
    network, cost = CosmosTokenizer(config), tokenizer_cost_of(config)
    num_frames, size = network.num_frames(num_latents), (32 // cost.spatial_factor, 48 // cost.spatial_factor)
    video, latents = torch.randn(1, 3, num_frames, 32, 48), torch.randn(1, 16, num_latents, *size)
    assert cost.parameters == parameters(network)
    assert cost.latent_frames(num_frames) == num_latents
    assert cost.encode(num_frames, 32, 48).flops == near(flops(lambda: network.encode(video)))
    assert cost.decode(num_latents, *size).flops == near(flops(lambda: network.decode(latents)))


def test_the_text_encoder() -> None:
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 2, "vocab_size": 50}
    network, cost = T5EncoderModel(T5Config(**sizes)), T5Cost(T5EncoderConfig(**sizes))
    tokens = torch.zeros(1, TEXT_TOKENS, dtype=torch.long)
    assert cost.parameters == parameters(network)
    assert cost.flops() == near(flops(lambda: network(input_ids=tokens)))


def test_published_sizes_follow_from_the_numbers_of_the_variants() -> None:
    # the sizes that the model cards give
    assert cost_of(MinimalDiTConfig(2048, 28, 16)).parameters == pytest.approx(1.96e9, rel=0.01)
    assert cost_of(MinimalDiTConfig(5120, 36, 40)).parameters == pytest.approx(14.3e9, rel=0.01)
    assert T5Cost(T5EncoderConfig()).parameters == pytest.approx(4.86e9, rel=0.01)
