import math

import pytest
import torch

from cosmos_cli.diffusion.res_sampler import Solver, sample_res
from cosmos_cli.diffusion.schedules import karras_sigmas


def standard_normal_denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return x / (1 + sigma**2)


@pytest.mark.parametrize(("solver", "order"), [("1euler", 1), ("2mid", 2), ("2ab", 2)])
def test_halving_the_steps_costs_what_the_order_says(solver: Solver, order: int) -> None:
    start = torch.full((1,), 80.0, dtype=torch.float64)
    exact = 80 * math.sqrt((1 + 0.002**2) / (1 + 80**2)) / (1 + 0.002**2)

    def error(num_steps: int) -> float:
        result = sample_res(standard_normal_denoiser, start, karras_sigmas(num_steps, 0.002, 80.0), solver=solver)
        return abs(float(result) - exact)

    assert 0.75 * 2**order < error(80) / error(160) < 1.4 * 2**order


def test_the_latents_are_carried_in_float64_and_the_denoiser_sees_its_own_dtype() -> None:
    x = torch.randn(64, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16) * 70
    seen: set[torch.dtype] = set()

    def denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        seen.update((x.dtype, sigma.dtype))
        return torch.zeros_like(x)

    states: list[torch.Tensor] = []
    sigmas = karras_sigmas(4, 0.002, 70.0)
    result = sample_res(denoiser, x, sigmas, lambda _i, state: states.append(state))
    assert seen == {torch.bfloat16}
    assert result.dtype == torch.bfloat16
    # with x0 = 0 every update only scales, so nothing may be rounded on the way
    for state, sigma in zip(states, sigmas[1:], strict=True):
        torch.testing.assert_close(state, x.double() * (sigma / 70), atol=0, rtol=1e-12)


def test_an_unknown_solver_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no solver '3heun'; there are 2ab, 1euler, 2mid"):
        sample_res(standard_normal_denoiser, torch.ones(1), karras_sigmas(2, 0.1, 1.0), solver="3heun")  # type: ignore[arg-type]
