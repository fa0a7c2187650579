"""Texts for regions of a video, against attention computed token by token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cosmos_cli.models.configs import ControlBranchConfig, GeneralDiTConfig
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.dit_layers import EncodedText, cross_attention
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.regional_attention import RegionalKeysValues, TokenRegions, regional_attention
from cosmos_cli.models.regional_text import RegionalText
from cosmos_cli.runtime.attention import attention

SIZE: dict[str, Any] = {"model_channels": 48, "num_heads": 2, "crossattn_emb_channels": 24, "adaln_lora_dim": 8}
LIMITS: dict[str, Any] = {"max_img_h": 16, "max_img_w": 16, "max_frames": 8}
GRID = (3, 3, 4)
NUM_TOKENS = 36


def randomised(net: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return net.eval()


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_masks(num_regions: int) -> Tensor:
    """Overlapping regions, and tokens in none."""
    return noise(num_regions, NUM_TOKENS, seed=9) > 0.3


@pytest.fixture(scope="module")
def net() -> GeneralDiT:
    return randomised(GeneralDiT(GeneralDiTConfig(num_blocks=2, **SIZE, **LIMITS)))


@pytest.fixture
def inputs() -> dict[str, Any]:
    return {"x_BCTHW": noise(1, 16, 3, 6, 8, seed=1), "timesteps_B": noise(1, seed=2), "fps": 24}


def texts_of(net: Any, count: int, batch: int = 1) -> list[EncodedText]:
    """Texts of different lengths."""
    return [net.encode_text(noise(batch, 5 + i, 24, seed=20 + i)) for i in range(count)]


def attend(q_LHD: Tensor, k_LHD: Tensor, v_LHD: Tensor) -> Tensor:
    """Attention by its formula, in float64, of one sample."""
    q, k, v = (t.double() for t in (q_LHD, k_LHD, v_LHD))
    weights_HLM = (torch.einsum("lhd,mhd->hlm", q, k) / q.shape[-1] ** 0.5).softmax(-1)
    return torch.einsum("hlm,mhd->lhd", weights_HLM, v)


@torch.no_grad()
def test_every_token_averages_the_global_text_with_the_texts_of_its_regions(net: GeneralDiT) -> None:
    masks = random_masks(3)
    whole, *regions = texts_of(net, 4, batch=2)
    text = RegionalText.of(whole, regions, masks)
    layer: Any = net.blocks["block1"].blocks[1].block.attn  # type: ignore[union-attr, index]
    x = noise(2, *GRID, 48, seed=3)
    q = layer.queries(x.flatten(1, 3))
    expected = torch.empty(2, NUM_TOKENS, 48)
    for b in range(2):
        k_whole, v_whole = (t[b] for t in whole.keys_values[1])
        for n in range(NUM_TOKENS):
            mine = [region.keys_values[1] for region, mask in zip(regions, masks, strict=True) if mask[n]]
            k = torch.cat([k[b] for k, _ in mine]) if mine else k_whole
            v = torch.cat([v[b] for _, v in mine]) if mine else v_whole
            one = q[b, n : n + 1]
            mean = 0.5 * attend(one, k_whole, v_whole) + 0.5 * attend(one, k, v)
            expected[b, n] = layer.output(mean.float().flatten(1))[0]
    actual = cross_attention(layer, x, text.keys_values[1], "sdpa").flatten(1, 3)
    torch.testing.assert_close(actual, expected, atol=2e-6, rtol=2e-6)
    combinations = {tuple(column) for column in masks.T.tolist()}
    assert len(combinations) == 8  # none, each, every pair and all three


@torch.no_grad()
def test_a_region_that_covers_nothing_changes_no_bit(net: GeneralDiT, inputs: dict[str, Any]) -> None:
    whole, region = texts_of(net, 2)
    nothing = RegionalText.of(whole, [region], torch.zeros(1, NUM_TOKENS, dtype=torch.bool))
    assert torch.equal(net(**inputs, text=nothing), net(**inputs, text=whole))


@torch.no_grad()
def test_the_same_text_everywhere_changes_no_bit(net: GeneralDiT, inputs: dict[str, Any]) -> None:
    [whole] = texts_of(net, 1)
    same = RegionalText.of(whole, [whole], torch.ones(1, NUM_TOKENS, dtype=torch.bool))
    assert torch.equal(net(**inputs, text=same), net(**inputs, text=whole))


@torch.no_grad()
def test_the_same_text_in_many_overlapping_regions_is_float_rounding_away(
    net: GeneralDiT, inputs: dict[str, Any]
) -> None:
    [whole] = texts_of(net, 1)
    same = RegionalText.of(whole, [whole] * 3, random_masks(3))
    torch.testing.assert_close(net(**inputs, text=same), net(**inputs, text=whole), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_order_of_the_regions_does_not_matter(net: GeneralDiT, inputs: dict[str, Any]) -> None:
    masks = random_masks(3)
    whole, *regions = texts_of(net, 4)
    there = net(**inputs, text=RegionalText.of(whole, regions, masks))
    back = net(**inputs, text=RegionalText.of(whole, regions[::-1], masks.flip(0)))
    torch.testing.assert_close(back, there, atol=1e-4, rtol=1e-4)
    swapped = net(**inputs, text=RegionalText.of(whole, regions[::-1], masks))
    assert float((swapped - there).abs().max()) > 0.01


@torch.no_grad()
def test_a_control_branch_takes_a_text_with_regions_too(inputs: dict[str, Any]) -> None:
    branch = randomised(ControlBranch(ControlBranchConfig(num_blocks=2, **SIZE, **LIMITS, hint_channels=16)))
    hint = branch.encode_hint(noise(1, 16, 3, 6, 8, seed=4))
    whole, region = texts_of(branch, 2)
    nothing = RegionalText.of(whole, [region], torch.zeros(1, NUM_TOKENS, dtype=torch.bool))
    half = RegionalText.of(whole, [region], torch.arange(NUM_TOKENS)[None] < 18)
    plain, same, other = (branch(**inputs, text=text, guided_hint_BTHWD=hint) for text in (whole, nothing, half))
    assert all(torch.equal(a, b) for a, b in zip(plain, same, strict=True))
    assert not torch.equal(plain[0], other[0])


@torch.no_grad()
def test_in_bfloat16_the_mean_is_rounded_as_the_original_rounds_it(net: GeneralDiT) -> None:
    q, *texts = (noise(1, n, 2, 24, seed=30 + n).bfloat16() for n in (NUM_TOKENS, 5, 6, 7, 8))
    everywhere = TokenRegions.from_masks(torch.ones(1, NUM_TOKENS, dtype=torch.bool))
    k, v, k_region, v_region = texts[0], texts[0].flip(1), texts[1], texts[1].flip(1)
    out = regional_attention(q, RegionalKeysValues((k, v), [(k_region, v_region)], everywhere), "sdpa")
    expected = attention(q, k_region, v_region) * 0.5 + attention(q, k, v) * 0.5
    assert torch.equal(out, expected)


def test_gradients_reach_all_texts(net: GeneralDiT, inputs: dict[str, Any]) -> None:
    contexts = [noise(1, 5, 24, seed=40 + i).requires_grad_() for i in range(3)]
    whole, *regions = (net.encode_text(context) for context in contexts)
    net(**inputs, text=RegionalText.of(whole, regions, random_masks(2))).square().sum().backward()
    assert all(context.grad is not None and context.grad.abs().sum() > 0 for context in contexts)


def test_masks_that_do_not_fit_are_value_errors(net: GeneralDiT, inputs: dict[str, Any]) -> None:
    whole, region = texts_of(net, 2)
    with pytest.raises(ValueError, match="1 texts for regions do not go with 2 masks"):
        RegionalText.of(whole, [region], random_masks(2))
    with pytest.raises(ValueError, match=r"\(regions, tokens\) bool, not \(1, 36\) torch.float32"):
        RegionalText.of(whole, [region], torch.ones(1, NUM_TOKENS))
    with pytest.raises(ValueError, match="the regions mark 30 tokens, the video has 36"):
        net(**inputs, text=RegionalText.of(whole, [region], random_masks(1)[:, :30]))
