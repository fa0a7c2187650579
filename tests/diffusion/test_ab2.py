import math

import pytest
import torch

from cosmos_cli.diffusion.ab2 import euler_step, res_step, sample_ab2
from cosmos_cli.diffusion.schedules import karras_sigmas


def test_one_euler_step_with_the_true_x0_lands_on_the_line() -> None:
    x0, noise = torch.randn(2, 1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = euler_step(x0 + 5.0 * noise, x0, 5.0, 0.7)
    torch.testing.assert_close(result, x0 + 0.7 * noise, atol=1e-12, rtol=0)


def test_a_step_is_exact_when_x0_is_linear_in_log_sigma() -> None:
    # x0(s) = a + b log s solves dx/ds = (x - x0)/s as x(s) = a + b (log s + 1) + k s
    a, b, k = 0.3, -0.8, 1.7

    def x0(s: float) -> torch.Tensor:
        return torch.tensor([a + b * math.log(s)], dtype=torch.float64)

    def x(s: float) -> torch.Tensor:
        return torch.tensor([a + b * (math.log(s) + 1) + k * s], dtype=torch.float64)

    result = res_step(x(4.0), x0(4.0), x0(9.0), 9.0, 4.0, 1.5)
    torch.testing.assert_close(result, x(1.5), atol=1e-12, rtol=0)


def test_the_sampler_converges_with_second_order() -> None:
    # the exact flow of x0(x, s) = x / (1 + s^2), the denoiser of standard normal data
    def denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x / (1 + sigma**2)

    def error(num_steps: int) -> float:
        sigmas = karras_sigmas(num_steps, 0.002, 80.0)
        start = torch.ones(1, dtype=torch.float64) * 80
        exact = start * math.sqrt((1 + 0.002**2) / (1 + 80**2)) / (1 + 0.002**2)
        return float((sample_ab2(denoiser, start, sigmas) - exact).abs())

    assert error(80) < error(40) / 3


def test_every_level_is_evaluated_once_and_steps_are_reported() -> None:
    seen: list[float] = []
    steps: list[int] = []

    def denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        seen.append(float(sigma))
        return torch.zeros_like(x)

    sigmas = karras_sigmas(5, 0.01, 200.0)
    sample_ab2(denoiser, torch.ones(2, dtype=torch.float64), sigmas, lambda i, _x: steps.append(i))
    assert seen == sigmas.tolist()
    assert steps == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("arguments", [(0, 0.1, 1.0), (5, 1.0, 0.1), (5, 0.0, 1.0)])
def test_a_schedule_that_makes_no_sense_is_a_value_error(arguments: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="no schedule"):
        karras_sigmas(*arguments)
