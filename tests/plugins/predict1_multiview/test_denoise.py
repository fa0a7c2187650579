"""The sampling loop: what is given, what is guided, and in which precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from cosmos_cli.diffusion.edm import precondition_output
from cosmos_cli.diffusion.edm_euler import euler_sigmas, output_of_x0
from cosmos_cli.diffusion.rectified_flow import first_frames
from cosmos_cli.generation.denoise import Side, guided_network, sample_latents
from cosmos_cli.generation.networks import build_dit
from cosmos_cli.generation.steps import Clock
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW

SHAPE = (1, 16, 3, 4, 4)
CPU = torch.device("cpu")


def sampled(**options: Any) -> Tensor:
    given = {"num_steps": 35, "seed": 0, "dtype": torch.float32, "device": CPU} | options
    return sample_latents(lambda x, c_noise: torch.zeros_like(x), SHAPE, Clock(), **given)


def test_an_output_of_x0_is_the_inverse_of_the_preconditioning() -> None:
    x0, x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0)).double()
    for sigma in euler_sigmas(35)[:-1].double():
        torch.testing.assert_close(precondition_output(x, output_of_x0(x0, x, sigma), sigma), x0)


# the factors stand in the specification of the original
@pytest.mark.parametrize(("num_steps", "factor"), [(10, 1.956), (20, 1.821), (25, 1.687), (35, 1.5875), (50, 1.449)])
def test_given_frames_stay_and_the_original_scales_them(num_steps: int, factor: float) -> None:
    latents = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    conditioning = first_frames(latents, 1)
    ours = sampled(num_steps=num_steps, conditioning=conditioning)
    theirs = sampled(num_steps=num_steps, conditioning=conditioning, like_original=True)
    torch.testing.assert_close(ours[:, :, :1], latents[:, :, :1], atol=2e-2, rtol=0)
    torch.testing.assert_close(theirs[:, :, :1], factor * latents[:, :, :1], atol=2e-2, rtol=2e-3)
    torch.testing.assert_close(ours[:, :, 1:], theirs[:, :, 1:])


def test_noise_may_be_given_and_depends_on_the_seed_alone() -> None:
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(sampled(seed=5), sampled(seed=0, noise_BCTHW=noise), atol=0, rtol=0)
    assert not torch.equal(sampled(seed=5), sampled(seed=6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_guidance_weighs_two_sides_in_the_network_s_precision(dtype: torch.dtype) -> None:
    config = replace(MULTIVIEW["tiny"].dit, condition_mask=False)
    torch.manual_seed(0)
    dit = build_dit(config).to(dtype).eval()
    text = torch.randn(1, 6 * 4, config.crossattn_emb_channels, dtype=dtype)
    side, nothing = Side(text), Side(torch.zeros_like(text))
    x, c_noise = torch.randn(1, 16, 12, 4, 4, dtype=dtype), torch.tensor(0.3)

    def output(uncond: Side | None, guidance: float, cond: Side = side) -> Tensor:
        network = guided_network(dit, cond, uncond, x.shape[2:], guidance=guidance, fps=24, dtype=dtype)
        with torch.no_grad():
            return network(x, c_noise)

    wanted, unwanted = output(None, 0), output(None, 0, nothing)
    assert wanted.dtype == dtype
    torch.testing.assert_close(output(nothing, 0), wanted, atol=0, rtol=0)
    expected = (wanted.float() + 7 * (wanted.float() - unwanted.float())).to(dtype)
    torch.testing.assert_close(output(nothing, 7), expected, atol=0, rtol=0)


def test_sampling_stays_in_the_network_s_precision() -> None:
    conditioning = first_frames(torch.randn(SHAPE), 1)
    assert sampled(dtype=torch.bfloat16, conditioning=conditioning).dtype == torch.bfloat16
    ours = sampled(dtype=torch.bfloat16, conditioning=conditioning)[:, :, :1]
    torch.testing.assert_close(ours.float(), conditioning.latents_BCTHW[:, :, :1], atol=0.05, rtol=0.02)
