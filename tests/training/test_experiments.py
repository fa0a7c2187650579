"""Recipes by name, and what a command line changes of one, in either spelling."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from cosmos_cli.errors import InputError
from cosmos_cli.training.experiments import changed, experiments, split
from cosmos_cli.training.job_folder import differences
from cosmos_plugins.predict1_multiview.recipes import RECIPES

EXAMPLE = RECIPES["video2world_multiview_7b_example"]


def test_the_published_example_has_the_numbers_of_the_original() -> None:
    assert (EXAMPLE.job.project, EXAMPLE.job.group) == ("posttraining", "diffusion_video2world")
    assert EXAMPLE.optimizer.lr == pytest.approx(4.957595192603974e-05)
    assert (EXAMPLE.optimizer.betas, EXAMPLE.optimizer.eps, EXAMPLE.optimizer.weight_decay) == ((0.9, 0.99), 1e-10, 0.1)
    assert (EXAMPLE.schedule.warm_up_steps, EXAMPLE.trainer.max_iter) == ((2500,), 2000)
    assert (EXAMPLE.draws.given, EXAMPLE.draws.given_min, EXAMPLE.draws.given_max) == ("per-step", 0, 2)
    assert (EXAMPLE.draws.augment_mean, EXAMPLE.draws.augment_std, EXAMPLE.draws.text_dropout) == (-3.0, 2.0, 0.2)
    assert (EXAMPLE.data.num_frames, EXAMPLE.data.height, EXAMPLE.data.width) == (57, 704, 1280)
    assert EXAMPLE.checkpoint.load_path == "Cosmos-Predict1-7B-Video2World-Sample-AV-Multiview/model.pt"


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ("trainer.max_iter=20", "trainer.max_iter", 20),
        ("optimizer.lr=1e-5", "optimizer.lr", 1e-5),
        ("model_parallel.context_parallel_size=4", "parallel.cp", 4),
        ("model.context_parallel_size=4", "parallel.cp", 4),
        ("model.fsdp.sharding_group_size=8", "parallel.shard", 8),
        ("model.ema.rate=0.05", "ema.rate", 0.05),
        ("model.loss_reduce=sum", "loss.reduce", "sum"),
        ("scheduler.warm_up_steps=[100]", "schedule.warm_up_steps", [100]),
        ("dataloader_train.dataset.dataset_dir=data/mine", "data.dataset_dir", "data/mine"),
        ("dataloader_train.batch_size=2", "data.batch_size", 2),
        ("data.view_keys=[front,left]", "data.view_keys", ["front", "left"]),
        ("trainer.logging_iter=5", "log.logging_iter", 5),
        ("optimizer.clip_norm=null", "optimizer.clip_norm", None),
        ("checkpoint.asynchronous=False", "checkpoint.asynchronous", False),
        ("lora={rank: 4}", None, None),
    ],
)
def test_overrides_are_understood_in_either_spelling(written: str, field: str | None, value: object) -> None:
    if field is None:
        with pytest.raises(InputError, match="lora"):
            changed(EXAMPLE, [written])
        return
    assert {name: new for name, (new, _) in differences(changed(EXAMPLE, [written]), EXAMPLE).items()} == {field: value}


def test_a_size_is_two_fields() -> None:
    sized = changed(EXAMPLE, ["dataloader_train.dataset.video_size=[480,848]"])
    assert (sized.data.height, sized.data.width) == (480, 848)


def test_wrong_overrides_are_told_all_at_once_with_the_nearest_name() -> None:
    wrong = ["trainer.max_itr=5", "optimzer.lr=1", "optimizer.lr=fast", "parallel.cp=0", "job.name.first=a"]
    with pytest.raises(InputError) as caught:
        changed(EXAMPLE, wrong[:2] + wrong[4:])
    problems = [(problem.where, problem.what, problem.fix) for problem in caught.value.problems]
    assert problems == [
        ("trainer.max_itr", "The recipe has no 'max_itr' in trainer.", "Did you mean 'max_iter'?"),
        ("optimzer.lr", "The recipe has no 'optimzer'.", "Did you mean 'optimizer'?"),
        ("job.name.first", "job.name is a value, without fields of its own.", None),
    ]
    with pytest.raises(InputError) as caught:
        changed(EXAMPLE, wrong[2:4])
    assert [problem.where for problem in caught.value.problems] == ["optimizer.lr", "parallel.cp"]


@pytest.mark.parametrize("override", ["task=nowhere:build", "workload=os:getcwd", "workload=", "task.x=1"])
def test_what_a_family_says_of_its_recipe_is_no_choice_of_who_runs_it(override: str) -> None:
    with pytest.raises(InputError, match="one of its family, and cannot be changed") as caught:
        changed(EXAMPLE, [override])
    assert caught.value.problems[0].where == override.partition("=")[0]


def test_every_field_of_every_recipe_takes_a_wrong_value_as_an_input_error() -> None:
    values = ("x", "null", "1.5", "9" * 30, "[1,a]", '{"a": 1}')
    for family in ("predict1-multiview", "transfer", "nemo"):  # of each kind of recipe
        recipe = next(iter(experiments(family).values()))
        for field, value in itertools.product([*_fields(recipe), "lora", "lora.rank"], values):
            with contextlib.suppress(InputError):
                changed(recipe, [f"{field}={value}"])


def _fields(part: BaseModel, prefix: str = "") -> Iterator[str]:
    """All fields of a recipe, its parts too, and one below each value."""
    for name, value in part:
        yield prefix + name
        yield from _fields(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else [f"{prefix}{name}.x"]


def test_the_originals_way_to_name_an_experiment() -> None:
    assert split(["experiment=a_run", "trainer.max_iter=3", "+ckpt.x=1"]) == (
        "a_run",
        ["trainer.max_iter=3", "ckpt.x=1"],
    )
    with pytest.raises(InputError, match="no override"):
        split(["--experiment"])
