import math

import pytest
import torch

from cosmos_cli.diffusion import edm
from cosmos_cli.diffusion.edm_euler import (
    edm_euler_step,
    euler_sigmas,
    initial_scale,
    output_at_given_frames,
    sample_edm_euler,
    unconditioned,
)
from cosmos_cli.diffusion.rectified_flow import Conditioning, first_frames


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sigma", [0.002, 0.5, 1.7, 80.0])
def test_inputs_and_targets_of_the_network_have_unit_variance(sigma: float) -> None:
    c = edm.scaling(torch.tensor(sigma, dtype=torch.float64))
    data, noise = 0.5**2, sigma**2
    assert math.isclose(c.c_in**2 * (data + noise), 1)
    # x0 = c_skip x + c_out F, so F = ((1 - c_skip) x0 - c_skip sigma noise) / c_out
    assert math.isclose(((1 - c.c_skip) ** 2 * data + c.c_skip**2 * noise) / c.c_out**2, 1)
    assert math.isclose(c.c_noise, math.log(sigma) / 4)
    assert math.isclose(edm.loss_weight(torch.tensor(sigma, dtype=torch.float64)) * c.c_out**2, 1)


def test_coefficients_are_formed_in_the_dtype_of_sigma() -> None:
    rounded, exact = (edm.scaling(torch.tensor(1.3, dtype=dtype)) for dtype in (torch.bfloat16, torch.float64))
    assert rounded.c_skip.dtype == torch.bfloat16
    assert 0 < abs(float(rounded.c_skip) / float(exact.c_skip) - 1) < 1e-2


def test_given_frames_reach_the_network_alike_at_every_sigma_and_come_back_exactly() -> None:
    latents, noise, x = randn(1, 2, 3, 4, 4), randn(1, 2, 3, 4, 4, seed=1), randn(1, 2, 3, 4, 4, seed=2)
    seen = []

    def network(scaled: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        seen.append(scaled[:, :, :1])
        return torch.zeros_like(scaled)

    given = first_frames(latents, 1)
    for sigma in (70.0, 0.7, 0.01):
        x0 = edm.denoise(network, x * sigma, torch.tensor(sigma), given, noise, dtype=torch.float32)
        assert torch.equal(x0[:, :, :1], latents[:, :, :1])
    expected = (latents + 0.001 * noise)[:, :, :1] / math.hypot(0.001, 0.5)
    for frames in seen:
        torch.testing.assert_close(frames, expected, atol=1e-5, rtol=0)


def test_given_frames_are_denoised_with_the_rest_once_sigma_is_down_to_their_own_noise() -> None:
    latents = randn(1, 2, 3, 4, 4)
    given = first_frames(latents, 2)

    def network(scaled: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(scaled)

    def run(conditioning: Conditioning | None, sigma: float) -> torch.Tensor:
        return edm.denoise(
            network, latents * 3, torch.tensor(sigma), conditioning, latents, dtype=torch.float32, sigma_augment=0.2
        )

    assert torch.equal(run(given, 0.2), run(None, 0.2))
    assert not torch.equal(run(given, 0.21), run(None, 0.21))


def test_conditioning_without_noise_is_a_value_error() -> None:
    latents = torch.zeros(1, 1, 2, 2, 2)
    with pytest.raises(ValueError, match="need noise"):
        edm.denoise(lambda x, t: x, latents, torch.tensor(1.0), first_frames(latents, 1), dtype=torch.float32)


def test_the_euler_schedule_ends_at_zero_and_may_have_a_single_step() -> None:
    sigmas = euler_sigmas(35)
    assert len(sigmas) == 36
    torch.testing.assert_close(sigmas[[0, 1, 33, 34, 35]], torch.tensor([80, 67.126, 0.000552709, 0.0002, 0]))
    assert euler_sigmas(1).tolist() == [80, 0]
    with pytest.raises(ValueError, match="no schedule"):
        euler_sigmas(0)


def test_one_euler_step_to_zero_gives_x0() -> None:
    # a network whose output makes x0 the latents themselves, whatever x is
    latents, x, sigma = randn(1, 2, 3, 4, 4), 80 * randn(1, 2, 3, 4, 4, seed=1), torch.tensor(80.0)
    c = edm.scaling(sigma)
    result = edm_euler_step(x, (latents - c.c_skip * x) / c.c_out, sigma, torch.tensor(0.0))
    torch.testing.assert_close(result, latents, atol=2e-5, rtol=0)


def test_euler_sampling_of_gaussian_data_converges_to_its_flow() -> None:
    # the best denoiser of data of deviation 0.5 has a network output of zero: x0 = c_skip x
    start = torch.full((1,), initial_scale(80.0), dtype=torch.float64)
    exact = float(start) * 0.5 / math.hypot(80, 0.5)

    def error(num_steps: int) -> float:
        sampled = sample_edm_euler(unconditioned(lambda x, t: 0 * x), start, euler_sigmas(num_steps))
        return abs(float(sampled) - exact)

    assert error(160) < 0.6 * error(80) < 0.02


def test_the_slip_at_given_frames_matters_at_small_sigma_only() -> None:
    latents, x = torch.tensor([0.3]), torch.tensor([0.8])
    for sigma, relative in ((80.0, 1e-2), (0.01, 0.5)):
        slipped = output_at_given_frames(latents, x, torch.tensor(sigma))
        x0 = edm.precondition_output(x, slipped, torch.tensor(sigma))
        assert (abs(float(x0 - latents)) < relative) == (sigma == 80.0)
