"""The losses where numbers are known by hand; golden files have the rest."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cosmos_cli.diffusion import edm
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.objectives import LogVariance, edm_loss
from cosmos_cli.training.recipe import LossRecipe

SIGMA = torch.tensor([0.3, 5.0])
X0 = torch.randn(2, 1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
NOISE = torch.randn(2, 1, 3, 2, 2, generator=torch.Generator().manual_seed(1))
DRAWS = Draws(SIGMA, NOISE, torch.ones(2))


def nothing(x_BCTHW: Tensor, c_noise_B: Tensor, mask_B1T11: Tensor | None) -> Tensor:
    """A network that gives zeros: what is predicted is c_skip x."""
    return torch.zeros_like(x_BCTHW)


class Constant(nn.Module):
    """A log variance per clip."""

    def __init__(self, values_B: Tensor) -> None:
        super().__init__()
        self.values_B = values_B

    def forward(self, c_noise_B: Tensor) -> Tensor:
        return self.values_B[:, None]


def errors() -> Tensor:
    """Weighed square errors of the network that gives zeros, by the formulas of Karras et al."""
    sigma = SIGMA.view(2, 1, 1, 1, 1)
    predicted = (X0 + sigma * NOISE) * 0.25 / (sigma**2 + 0.25)
    return (X0 - predicted) ** 2 * (sigma**2 + 0.25) / (sigma * 0.5) ** 2


def test_every_element_is_weighed_and_summed_as_the_recipe_says() -> None:
    mean = edm_loss(nothing, X0, DRAWS, LossRecipe(log_variance=False))
    torch.testing.assert_close(mean.total, errors().mean())
    sums = edm_loss(nothing, X0, DRAWS, LossRecipe(log_variance=False, reduce="sum", scale=3))
    torch.testing.assert_close(sums.total, 3 * errors().flatten(1).sum(1).mean())
    torch.testing.assert_close(sums.parts["edm_loss"], mean.total)  # what is told is always the mean


def test_the_log_variance_is_traded_off_against_the_error() -> None:
    best = errors().flatten(1).mean(1).log()

    def total(u_B: Tensor) -> float:
        return float(edm_loss(nothing, X0, DRAWS, LossRecipe(), log_variance=Constant(u_B)).total)

    assert total(best) < min(total(best + 0.3), total(best - 0.3))
    assert total(best) == pytest.approx(float((1 + best).mean()), rel=1e-5)


def test_given_frames_count_as_zeros_unless_the_recipe_covers_them() -> None:
    draws = Draws(SIGMA, NOISE, torch.ones(2), torch.tensor([1, 2]))
    free = torch.tensor([[0.0, 1, 1], [0, 0, 1]]).view(2, 1, 3, 1, 1)
    loss = edm_loss(nothing, X0, draws, LossRecipe(log_variance=False))
    torch.testing.assert_close(loss.total, (free * errors()).mean())
    assert torch.equal(loss.x0_BCTHW * (1 - free), X0 * (1 - free))
    covered = edm_loss(nothing, X0, draws, LossRecipe(log_variance=False, covers_given=True))
    assert covered.total > loss.total


def test_the_uncertainty_head_has_the_published_keys_and_a_value_per_noise_level() -> None:
    head = LogVariance()
    assert {name: tuple(value.shape) for name, value in head.state_dict().items()} == {
        "0.freqs": (128,),
        "0.phases": (128,),
        "1.weight": (1, 128),
    }
    assert head(edm.scaling(SIGMA).c_noise).shape == (2, 1)
