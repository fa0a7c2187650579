"""One step, and the steps that are left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cosmos_cli.errors import CosmosError
from cosmos_cli.training.draws import Draws, draw
from cosmos_cli.training.experiments import changed
from cosmos_cli.training.parallel import Parallel
from cosmos_cli.training.recipe import DrawsRecipe, Recipe
from cosmos_cli.training.task import Batch, Loss
from cosmos_cli.training.trainer import Trainer
from cosmos_plugins.predict1_multiview.recipes import RECIPES

PLAIN = changed(RECIPES["tiny_video2world_multiview"], ["optimizer.lr=0.1", "optimizer.weight_decay=0"])


class OneNumber:
    """A task that learns one number; a clip's latents are what its loss is multiplied with."""

    frozen: Sequence[nn.Module] = ()
    constants: dict[str, Tensor] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.networks = nn.ModuleDict({"net": nn.Linear(1, 1, bias=False)})

    def loss(self, batch: Batch, draws: Draws) -> Loss:
        total = self.networks["net"](batch.latents_BCTHW.flatten()[:1]).sum()
        return Loss(total, {}, batch.latents_BCTHW)

    def share_tokens(self, group: Any) -> None: ...


def trainer(recipe: Recipe = PLAIN) -> Trainer:
    task: Any = OneNumber()
    return Trainer(recipe, task, Parallel.form(recipe.parallel, torch.device("cpu"), "float32"))


def clip(number: float) -> tuple[Batch, Draws]:
    draws = draw(DrawsRecipe(), (1, 1, 1, 1), seed=0, step=0, places=[0])
    return Batch(torch.full((1, 1, 1, 1, 1), number), torch.zeros(1, 1, 1), 24.0), draws


def test_a_step_without_a_finite_loss_changes_nothing_and_too_many_stop_the_run() -> None:
    ours = trainer(changed(PLAIN, ["trainer.max_skipped=3"]))
    [weight] = ours.parameters.values()
    assert not ours.step([clip(1.0)]).is_skipped
    before = weight.detach().clone()
    for _ in range(2):
        step = ours.step([clip(math.nan)])
        assert step.is_skipped
        assert torch.equal(weight, before)
    assert not ours.step([clip(1.0)]).is_skipped  # in a row: one good step begins to count anew
    assert not torch.equal(weight, before)
    assert ours.iteration == 4
    ours.step([clip(math.inf)])
    ours.step([clip(math.nan)])
    with pytest.raises(CosmosError, match="3 steps in a row"):
        ours.step([clip(math.nan)])


def test_a_gradient_far_out_of_the_usual_is_left_out_where_that_is_asked_for() -> None:
    plain, guarded = trainer(), trainer(changed(PLAIN, ["trainer.spike_factor=5"]))
    for _ in range(50):
        plain.step([clip(1.0)])
        guarded.step([clip(1.0)])
    assert not plain.step([clip(100.0)]).is_skipped
    assert guarded.step([clip(100.0)]).is_skipped
    assert not guarded.step([clip(4.0)]).is_skipped
    resumed = trainer(changed(PLAIN, ["trainer.spike_factor=5"]))
    resumed.restore(guarded.plain())
    assert resumed.step([clip(100.0)]).is_skipped


def test_micro_batches_are_one_batch() -> None:
    together, apart = trainer(), trainer()
    apart.task.networks.load_state_dict(together.task.networks.state_dict())
    one = together.step([clip(2.0)])
    two = apart.step([clip(1.0), clip(3.0)])
    assert one.gradient_norm == two.gradient_norm == 2.0
    assert one.loss == pytest.approx(two.loss)


def test_draws_depend_on_the_place_in_the_whole_batch_alone() -> None:
    recipe = DrawsRecipe(given="per-clip", augment_mean=-3.0, high_sigma_ratio=0.3, text_dropout=0.5)
    whole = draw(recipe, (4, 2, 3, 3), seed=1, step=7, places=range(6))
    for places in ([0, 1, 2], [3, 4, 5], [4]):
        part = draw(recipe, (4, 2, 3, 3), seed=1, step=7, places=places)
        for name in ("sigma_B", "noise_BCTHW", "text_keep_B", "num_given_B", "augment_sigma_B", "augment_noise_BCTHW"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[places]), name
    other = draw(recipe, (4, 2, 3, 3), seed=1, step=8, places=range(6))
    assert not torch.equal(other.sigma_B, whole.sigma_B)
    per_step = draw(DrawsRecipe(given="per-step"), (4, 2, 3, 3), seed=1, step=7, places=range(6))
    assert per_step.num_given_B is not None
    assert len(per_step.num_given_B.unique()) == 1


def test_sigma_is_drawn_as_the_recipe_says() -> None:
    recipe = DrawsRecipe(sigma_mean=0.5, sigma_std=0.8, sigma_multiplier=3.0)
    logs = draw(recipe, (1, 1, 1, 1), seed=0, step=0, places=range(4000)).sigma_B.log() - math.log(3.0)
    assert float(logs.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(logs.std()) == pytest.approx(0.8, abs=0.04)
    high = draw(DrawsRecipe(high_sigma_ratio=1.0), (1, 1, 1, 1), seed=0, step=0, places=range(500)).sigma_B
    assert 200 <= float(high.min()) < 400
    assert 50_000 < float(high.max()) <= 100_000
