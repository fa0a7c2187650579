"""Overrides as nemo_run takes them: names, operators and values, and what the native engine does not support."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosmos_cli.errors import InputError
from cosmos_cli.training.experiments import with_changes
from cosmos_cli.training.job_folder import differences, flat
from cosmos_cli.training.recipe import Recipe
from cosmos_plugins.nemo_bridge.overrides import FIELDS, changes_of
from cosmos_plugins.nemo_bridge.recipes import NOT_HERE, RECIPES, network_of

FACTORY = RECIPES["cosmos_diffusion_7b_text2world_finetune"]


def changed(*overrides: str) -> Recipe:
    return with_changes(FACTORY, changes_of(FACTORY, overrides).values())


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ("data.path=./x", "data.dataset_dir", "x"),
        ("data.path=/abs/x", "data.dataset_dir", "/abs/x"),
        ("data.path=x y", "data.dataset_dir", "x y"),
        ("data.path=123", "data.dataset_dir", "123"),
        ("trainer.max_steps=20", "trainer.max_iter", 20),
        ("trainer.max_steps=2_0", "trainer.max_iter", 20),
        ("trainer.max_steps+=500", "trainer.max_iter", 1500),
        ("trainer.max_steps-=500", "trainer.max_iter", 500),
        ("trainer.max_steps/=2", "trainer.max_iter", 500),
        ("optim.config.lr=1e-5", "optimizer.lr", 1e-5),
        ("optim.config.lr*=2", "optimizer.lr", 2e-6),
        ("optim.config.adam_beta2=0.95", "optimizer.betas", [0.9, 0.95]),
        ("optim.config.clip_grad=None", "optimizer.clip_norm", None),
        ("resume.restore_config=None", "checkpoint.load_path", ""),
        (
            "resume.restore_config.path=a/epoch=39-step=199/weights",
            "checkpoint.load_path",
            "a/epoch=39-step=199/weights",
        ),
        ("data.global_batch_size=64", "data.global_batch_size", 64),
        ("trainer.strategy.tensor_model_parallel_size=4", "parallel.tp", 4),
        ("trainer.strategy.context_parallel_size=2", "parallel.cp", 2),
        ("model.config.num_layers=1", "model.num_layers", 1),
        ("model.config.recompute_granularity=None", "parallel.activation_checkpointing", "none"),
        ("optimizer.betas=[0.5,0.6]", "optimizer.betas", [0.5, 0.6]),
        ("optimizer.lr=2e-6", "optimizer.lr", 2e-6),
        ("scheduler.warm_up_steps=[10]", "schedule.warm_up_steps", [10]),
        ("log.wandb_project=mine", "log.wandb_project", "mine"),
        ("ema.enabled=true", "ema.enabled", True),
    ],
)
def test_overrides_are_understood(written: str, field: str, value: object) -> None:
    assert {name: new for name, (new, _) in differences(changed(written), FACTORY).items()} == {field: value}


def test_overrides_follow_one_another() -> None:
    recipe = changed(
        "optim.config.adam_beta1=0.8", "optim.config.adam_beta2=0.9", "trainer.max_steps=5", "trainer.max_steps+=5"
    )
    assert (recipe.optimizer.betas, recipe.trainer.max_iter) == ((0.8, 0.9), 10)


@pytest.mark.parametrize(
    "written", ["trainer.num_nodes=1", "resume.resume_if_exists=True", "data.path=None", "log.log_dir=None"]
)
def test_what_is_so_anyway_changes_nothing(written: str) -> None:
    assert not differences(changed(written), FACTORY)


@pytest.mark.parametrize(
    ("written", "where", "fix"),
    [
        ("data.paht=x", "data.paht", "data.path"),
        ("optim.config.learning_rate=1", "optim.config.learning_rate", "optim.config.clip_grad"),
        ("trainer.max_step=1", "trainer.max_step", "trainer.max_steps"),
        ("trainer.strategy.sequence_parallel=True", "trainer.strategy.sequence_parallel", "context_parallel_size"),
        ("trainer.devices=8", "trainer.devices", "--num-gpus"),
        ("trainer.num_nodes=2", "trainer.num_nodes", "torchrun --nnodes"),
        ("trainer.num_nodes+=1", "trainer.num_nodes", "torchrun --nnodes"),
        ("resume.resume_if_exists=False", "resume.resume_if_exists", "log.log_dir"),
        ("data.path|=x", "data.path", "behind ="),
        ("trainer.max_steps/=0", "trainer.max_steps", "behind ="),
        ("data.path=a\0b", "data.path", "path"),
        ("optimizer.betas.x=1", "optimizer.betas.x", "optimizer.betas"),
        ("trainer.max_steps", "overrides", "path.to.field=value"),
        ("--trainer=1", "overrides", "path.to.field=value"),
    ],
)
def test_what_is_not_supported_is_said_with_what_is(written: str, where: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        changed(written)
    [problem] = caught.value.problems
    assert problem.where == where
    assert fix in (problem.fix or "")


@pytest.mark.parametrize(
    "written",
    [
        f"trainer.max_steps=0x{'f' * 5000}",
        f"trainer.max_steps=0x{'f' * 3000}",
        f"optim.config.adam_beta1=[0x{'f' * 5000}]",
        f"trainer.seed={2**64}",
    ],
)
def test_numbers_that_no_machine_counts_to_are_refused(written: str) -> None:
    with pytest.raises(InputError, match=written.partition("=")[0]):
        changed(written)


def test_all_mistakes_are_told_at_once_under_the_names_that_were_written() -> None:
    with pytest.raises(InputError) as caught:
        changed("data.paht=x", "optim.config.lrr=1")
    assert [problem.where for problem in caught.value.problems] == ["data.paht", "optim.config.lrr"]
    with pytest.raises(InputError) as caught:
        changed("trainer.max_steps=many", "optim.config.lr=-1", f"trainer.max_steps={'9' * 5000}")
    assert {problem.where for problem in caught.value.problems} == {"trainer.max_steps", "optim.config.lr"}
    with pytest.raises(InputError, match="recompute_granularity"):
        changed("model.config.recompute_granularity=[1]")
    with pytest.raises(InputError):
        changed("optimizer.betas=1", "optim.config.adam_beta1=0.5")
    with pytest.raises(InputError, match="too large"):
        changed(f"trainer.max_steps={'9' * 400}", "trainer.max_steps*=2.5")


def test_the_guide_lists_every_name() -> None:
    guide = (Path(__file__).parents[3] / "docs/nemo-training.md").read_text()
    rows = [line for line in guide.splitlines() if line.startswith("| `")]
    for theirs, ours in FIELDS.items():
        assert any(f"`{theirs}`" in row and f"`{ours.partition('.betas')[0]}" in row for row in rows), theirs


def test_the_table_names_fields_that_there_are() -> None:
    own = flat(FACTORY.model_dump())
    for name in FIELDS.values():
        assert name.partition("betas.")[0].rstrip(".") + (".betas" if "betas." in name else "") in own


@pytest.mark.parametrize("size", ["7b", "14b"])
@pytest.mark.parametrize("kind", ["text2world", "video2world"])
def test_factories_have_the_numbers_of_nemo(size: str, kind: str) -> None:
    recipe = RECIPES[f"cosmos_diffusion_{size}_{kind}_finetune"]
    optimizer, draws = recipe.optimizer, recipe.draws
    assert (optimizer.lr, optimizer.weight_decay, optimizer.betas) == (1e-6, 0.0, (0.9, 0.999))
    assert (optimizer.eps, optimizer.clip_norm) == (1e-8, 1.0)
    assert (recipe.trainer.max_iter, recipe.checkpoint.save_iter, recipe.parallel.tp) == (1000, 200, 8)
    assert recipe.parallel.activation_checkpointing == "block"
    assert not recipe.ema.enabled and not recipe.loss.log_variance
    assert (recipe.loss.dtype, recipe.loss.error_dtype) == ("bfloat16", "float32")
    assert (draws.sigma_mean, draws.sigma_std, draws.text_dropout) == (0.0, 1.0, 0.2)
    assert (draws.given, draws.given_min, draws.given_max) == (
        ("per-clip", 1, 4) if kind == "video2world" else ("none", 0, 2)
    )
    assert recipe.job.folder == f"nemo_experiments/{recipe.job.name}"
    network = network_of(recipe)  # type: ignore[arg-type]
    assert (network.num_blocks, network.block_norm_eps) == ({"7b": 28, "14b": 36}[size], 1e-6)


def test_all_other_factories_are_known_by_name() -> None:
    assert len(NOT_HERE) == 9
    assert not NOT_HERE.keys() & RECIPES.keys()
