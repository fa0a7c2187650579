"""Post-training of control branches: what learns, where a branch begins, and the numbers of the recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cosmos_cli.errors import CheckpointError
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.training.data.examples import collate
from cosmos_cli.training.data.mock import MockClips
from cosmos_cli.training.draws import draw
from cosmos_cli.training.parallel import Parallel
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.task import Batch, Where
from cosmos_cli.training.trainer import Trainer
from cosmos_plugins.transfer1.recipes import CONTROLS, DRIVING_CONTROLS, RECIPES
from cosmos_plugins.transfer1.task import ControlTask, carry_hint, control, new_branch
from cosmos_plugins.transfer1.variants import VARIANTS

CPU = torch.device("cpu")
HERE = Where(CPU, torch.float32, Path("nowhere"))
PRETRAIN = RECIPES["tiny_control_input_edge_pretrain"]
POSTTRAIN = RECIPES["tiny_control_input_edge_posttrain"]


def trained(recipe: Recipe, num_steps: int) -> tuple[ControlTask, Trainer, dict[str, Tensor], Batch]:
    """The task after some steps, and its weights before, with those of what is frozen."""
    task = control(recipe, HERE)
    parallel = Parallel.form(recipe.parallel, CPU, "float32")
    parallel.wrap(task)
    trainer = Trainer(recipe, task, parallel)
    with torch.no_grad():
        batch = task.encode(collate([MockClips(recipe).example(0, torch.Generator())]))
    start = {name: tensor.clone() for name, tensor in weights_of(task).items()}
    for step in range(num_steps):
        draws = draw(recipe.draws, batch.latents_BCTHW.shape[1:], seed=0, step=step, places=(0,))
        trainer.step([(batch, draws)])
    return task, trainer, start, batch


def weights_of(task: ControlTask) -> dict[str, Tensor]:
    weights: dict[str, Any] = task.networks.state_dict()
    return weights | {f"frozen.{name}": tensor for name, tensor in task.frozen[0].state_dict().items()}


def test_the_branch_alone_learns_and_its_unused_head_stays_but_is_averaged() -> None:
    task, trainer, start, _ = trained(POSTTRAIN, 2)
    changed = {name for name, tensor in weights_of(task).items() if not torch.equal(tensor, start[name])}
    unused = {name for name in start if name.startswith("net.final_layer.")}
    assert unused
    assert changed == set(trainer.parameters) - unused
    assert trainer.ema is not None
    assert set(trainer.ema.averages) == set(trainer.parameters) == {name for name in start if name[:4] == "net."}


def test_a_hint_that_is_carried_comes_through_loud_and_changes_nothing_until_the_branch_learns() -> None:
    variant = VARIANTS["tiny"]
    torch.manual_seed(0)
    branch = new_branch(variant.branch(driving=False), GeneralDiT(variant.base(driving=False)))
    hints, mask = torch.randn(8, 16, 2, 8, 8), torch.zeros(8, 1, 64, 64)
    with torch.no_grad():
        assert not branch.encode_hint(hints, mask).any()  # the last layer of a new branch is zero
        carry_hint(branch)
        carried = branch.encode_hint(hints, mask)
        both = branch.encode_hint((hints[:1] + hints[1:2]) / 2, mask[:1])
    assert 2 < float(carried.std()) < 8
    bent = both - (carried[:1] + carried[1:2]) / 2
    assert float(bent.square().mean()) < 0.01 * float(carried.var())  # nearly a straight line
    assert not any(parameter.any() for parameter in branch.zero_blocks.parameters())


def test_a_new_branch_is_the_base_s_copy_and_changes_nothing_until_it_learns() -> None:
    task = control(PRETRAIN, HERE)
    branch, base = task.networks["net"].state_dict(), task.frozen[0].state_dict()
    own = {name for name in branch if name.startswith(("zero_blocks.", "input_hint_block.", "x_embedder2."))}
    assert own
    for name in branch.keys() - own:
        assert torch.equal(branch[name], base[name].float()), name
    for name in own:
        is_way_out = name.startswith(("zero_blocks.", "input_hint_block.14."))
        is_bias = name.startswith("input_hint_block.") and name.endswith(".bias")
        assert bool(branch[name].any()) != (is_way_out or is_bias), name
    learnt, _, _, batch = trained(PRETRAIN, 2)
    draws = draw(PRETRAIN.draws, batch.latents_BCTHW.shape[1:], seed=0, step=0, places=(0,))
    other = Batch(batch.latents_BCTHW, batch.text_BLC, batch.fps, hints={"edge": torch.zeros_like(batch.latents_BCTHW)})
    with torch.no_grad():
        assert torch.equal(task.loss(batch, draws).total, task.loss(other, draws).total)
        assert not torch.equal(learnt.loss(batch, draws).total, learnt.loss(other, draws).total)


def test_time_is_stretched_in_the_base_alone() -> None:
    task = control(PRETRAIN, HERE)
    ratios = [net.config.rope_t_extrapolation_ratio for net in (task.frozen[0], task.networks["net"])]  # type: ignore[union-attr]
    assert ratios == [2.0, 1.0]


def test_samples_show_the_clip_beside_its_control() -> None:
    task, _, _, batch = trained(POSTTRAIN, 0)
    with torch.no_grad():
        (video,) = task.sample(batch, seed=0, num_steps=2)
    assert video.dtype == torch.uint8
    assert video.shape == (9, 64, 2 * 112, 3)


def test_a_missing_file_is_said_with_the_way_to_get_it() -> None:
    recipe = RECIPES["CTRL_7Bv1pt3_lvg_tp_121frames_control_input_depth_block3_posttrain"]
    with pytest.raises(CheckpointError, match=r"base_model\.pt.*download transfer --controls depth"):
        control(recipe, HERE)


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_has_the_numbers_of_the_original(name: str) -> None:
    start, goes_on = (
        RECIPES[f"CTRL_7Bv1pt3_lvg_tp_121frames_control_input_{name}_block3_{kind}"]
        for kind in ("pretrain", "posttrain")
    )
    for recipe in (start, goes_on):
        assert recipe.optimizer.lr == pytest.approx(4.957595192603974e-05)
        assert (recipe.schedule.warm_up_steps, recipe.ema.enabled, recipe.ema.rate) == ((2500,), True, 0.1)
        assert (recipe.draws.sigma_multiplier, recipe.draws.given_max, recipe.draws.augment_mean) == (4.0, 2, -3.0)
        assert (recipe.data.num_frames, recipe.data.hint, recipe.data.batch_size) == (121, name, 1)
        assert (recipe.parallel.tp, recipe.checkpoint.save_iter) == (8, 1000)
    file = {"upscale": "4kupscaler"}.get(name, name)
    assert start.checkpoint.load_path == ""
    assert goes_on.checkpoint.load_path == f"nvidia/Cosmos-Transfer1-7B/{file}_control.pt"


@pytest.mark.parametrize("name", DRIVING_CONTROLS)
@pytest.mark.parametrize("frames", [57, 121])
def test_driving_scenes_warm_up_sooner_and_are_given_no_frames(name: str, frames: int) -> None:
    recipe = RECIPES[f"CTRL_7Bv1pt3_t2w_{frames}frames_control_input_{name}_block3_posttrain"]
    assert (recipe.schedule.warm_up_steps, recipe.draws.given) == ((1000,), "none")
    assert recipe.draws.sigma_multiplier == pytest.approx({57: 8**0.5, 121: 4.0}[frames])
