"""Post-trainings of Transfer1's control branches, under the names of the originals."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from cosmos_cli.generation.variants import TINY_TEXT_WIDTH
from cosmos_cli.training.memory import Workload
from cosmos_cli.training.recipe import (
    CheckpointRecipe,
    Data,
    DrawsRecipe,
    Job,
    LogRecipe,
    Model,
    OptimizerRecipe,
    ParallelRecipe,
    Recipe,
    ScheduleRecipe,
    TrainerRecipe,
    of_size,
)
from cosmos_cli.worlds.recipes import TINY_COSMOS_TOKENIZER, learning_from_chance, worlds_clips
from cosmos_plugins.transfer1.learning.recipes import TINY_DEPTH
from cosmos_plugins.transfer1.variants import VARIANTS

TASK = "cosmos_plugins.transfer1.task:control"
BASE_TASK = "cosmos_plugins.transfer1.base_task:base"
WORKLOAD = "cosmos_plugins.transfer1.recipes:workload"
CONTROLS = ("vis", "edge", "depth", "seg", "keypoint", "upscale")
DRIVING_CONTROLS = ("hdmap", "lidar")


_FOLDER, _AV_FOLDER = "nvidia/Cosmos-Transfer1-7B", "nvidia/Cosmos-Transfer1-7B-Sample-AV"
_FILES = {"upscale": "4kupscaler"}


class ControlModel(Model):
    """A control branch and its base."""

    control: str = Field(description="Which control; data.hint names its videos.")
    driving: bool = Field(default=False, description="The base for driving scenes, which is given no frames.")
    base_path: str = Field(description="File of the base, which stays as it is.")
    carries_hint: bool = Field(
        default=False,
        description="Begin with layers that pass the control on; the original begins with weights of chance, in which "
        "it fades.",
    )


class ControlRecipe(Recipe):
    """A post-training of a control branch. Without checkpoint.load_path the branch begins as a copy of the base."""

    model: ControlModel


_GIVEN = DrawsRecipe(given="per-step", given_max=2, augment_mean=-3.0, augment_std=2.0)


def _recipe(
    name: str, control: str, start: Literal["pretrain", "posttrain"], *, frames: int, driving: bool, **changes: Any
) -> Recipe:
    folder = _AV_FOLDER if driving else _FOLDER
    published = f"{folder}/{_FILES.get(control, control)}_control.pt"
    begins = "a copy of the base" if start == "pretrain" else "the published branch"
    values: dict[str, Any] = {
        "model": ControlModel(size="7B", control=control, driving=driving, base_path=f"{folder}/base_model.pt"),
        "data": Data(
            source="cosmos_cli.training.data.videos:VideoFolder",
            dataset_dir="datasets/waymo" if driving else "datasets/hdvila",
            num_frames=frames,
            height=704,
            width=1280,
            hint=control,
            num_workers=8,
        ),
        # the originals multiply by the root of a number of their configuration, whatever the clip's length
        "draws": (DrawsRecipe() if driving else _GIVEN).model_copy(
            update={"sigma_multiplier": 4.0 if frames == 121 else 8**0.5}
        ),
        "optimizer": OptimizerRecipe(lr=2**-14.3, weight_decay=0.1, betas=(0.9, 0.99), eps=1e-10, clip_norm=1.0),
        "schedule": ScheduleRecipe(warm_up_steps=(1000 if driving else 2500,)),
        "parallel": ParallelRecipe(tp=8, activation_checkpointing="sub-block"),
        "checkpoint": CheckpointRecipe(load_path="" if start == "pretrain" else published, save_iter=1000),
        "trainer": TrainerRecipe(max_iter=999_999_999),
        "log": LogRecipe(logging_iter=200),
    }
    job = Job(group="CTRL_7Bv1", name=name)
    help = f"The {control} branch{' for driving scenes' if driving else ''}, from {begins}; {frames} frames."
    return ControlRecipe(help=help, task=TASK, workload=WORKLOAD, job=job, **(values | changes))


_TINY: dict[str, Any] = {
    "data": Data(
        num_frames=9, height=64, width=112, text_tokens=16, text_channels=TINY_TEXT_WIDTH, num_mock_clips=64
    ).model_copy(update={"num_workers": 0, "hint": "edge"}),
    "schedule": ScheduleRecipe(),
    "optimizer": OptimizerRecipe(lr=1e-3),
    "parallel": ParallelRecipe(activation_checkpointing="none"),
    "draws": DrawsRecipe(sigma_multiplier=1.0, given="per-step", given_max=1, augment_mean=-3.0),
    "trainer": TrainerRecipe(max_iter=20, precision="float32"),
    "log": LogRecipe(logging_iter=1),
}


def _tiny(start: Literal["pretrain", "posttrain"]) -> Recipe:
    path = "" if start == "pretrain" else f"{_FOLDER}/edge_control.pt"
    return _recipe(
        f"tiny_control_input_edge_{start}",
        "edge",
        start,
        frames=9,
        driving=False,
        model=ControlModel(size="tiny", control="edge", base_path=f"{_FOLDER}/base_model.pt"),
        checkpoint=CheckpointRecipe(load_path=path, save_iter=10),
        **_TINY,
    )


_HEIGHT, _WIDTH = VARIANTS["tiny"].sizes["16:9"]
_WORLDS = worlds_clips(num_frames=VARIANTS["tiny"].chunk_frames, height=_HEIGHT, width=_WIDTH, num_mock_clips=3000)
_WORLD_DRAWS = DrawsRecipe(
    sigma_mean=1.0, sigma_std=1.5, text_dropout=0.1, given="per-clip", given_max=1, augment_mean=-3.0, augment_std=2.0
)


def _worlds_base() -> Recipe:
    return Recipe(
        help="The base of the tiny models, from chance, on rendered worlds.",
        task=BASE_TASK,
        job=Job(group="tiny", name="tiny_worlds_base"),
        model=Model(size="tiny"),
        data=_WORLDS,
        draws=_WORLD_DRAWS,
        **learning_from_chance(8000),
    )


def _worlds_control(control: str) -> ControlRecipe:
    return ControlRecipe(
        help=f"The {control} branch of the tiny models, from a copy of their base, on rendered worlds.",
        task=TASK,
        workload=WORKLOAD,
        job=Job(group="tiny", name=f"tiny_worlds_{control}"),
        model=ControlModel(size="tiny", control=control, base_path=f"{_FOLDER}/base_model.pt", carries_hint=True),
        data=_WORLDS.model_copy(update={"hint": control, "num_mock_clips": 2400}),
        draws=_WORLD_DRAWS,
        **learning_from_chance(3000, rate=3e-3),
    )


RECIPES: dict[str, Recipe] = {
    recipe.job.name: recipe
    for recipe in (
        *(
            _recipe(
                f"CTRL_7Bv1pt3_lvg_tp_121frames_control_input_{control}_block3_{start}",
                control,
                start,
                frames=121,
                driving=False,
            )
            for control in CONTROLS
            for start in ("pretrain", "posttrain")
        ),
        *(
            _recipe(
                f"CTRL_7Bv1pt3_t2w_{frames}frames_control_input_{control}_block3_{start}",
                control,
                start,
                frames=frames,
                driving=True,
            )
            for control in DRIVING_CONTROLS
            for frames in (57, 121)
            for start in ("pretrain", "posttrain")
        ),
        _tiny("pretrain"),
        _tiny("posttrain"),
        TINY_COSMOS_TOKENIZER,
        _worlds_base(),
        *(_worlds_control(control) for control in ("vis", "edge", "depth", "seg")),
        TINY_DEPTH,
    )
}


def workload(recipe: Recipe) -> Workload:
    """What a recipe trains, in numbers."""
    assert isinstance(recipe, ControlRecipe)
    variant, driving = of_size(VARIANTS, recipe), recipe.model.driving
    return Workload(variant.branch(driving=driving), variant.tokenizer, frozen=[variant.base(driving=driving)])
