"""Post-trainings of Predict1 for several views, under the names of the originals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from cosmos_cli.generation.variants import TINY_TEXT_WIDTH
from cosmos_cli.models.configs import MultiViewConfig
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
from cosmos_cli.worlds.recipes import learning_from_chance, worlds_clips
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW

TASK = "cosmos_plugins.predict1_multiview.task:multiview"
WORKLOAD = "cosmos_plugins.predict1_multiview.recipes:workload"
VIEWS = 6
WAYMO_VIEWS = (
    "pinhole_front_left",
    "pinhole_front",
    "pinhole_front_right",
    "pinhole_side_left",
    "pinhole_side_right",
)


class MultiviewModel(Model):
    """A network for several views."""

    kind: Literal["video2world", "text2world"] = Field(default="video2world", description="Whether frames are given.")
    view_condition_dim: int | None = Field(
        default=None, ge=1, description="Channels that describe a view; None is as in checkpoint.load_path."
    )
    add_repeat_frame_embedding: bool | None = Field(
        default=None, description="Tell the network of repeated frames; None is as in checkpoint.load_path."
    )


class MultiviewRecipe(Recipe):
    """A post-training of a network for several views."""

    model: MultiviewModel


_VIDEO = DrawsRecipe(given="per-step", given_min=0, given_max=2, augment_mean=-3.0, augment_std=2.0)


def _recipe(name: str, kind: Literal["video2world", "text2world"], help: str, data: Data, **changes: Any) -> Recipe:
    model = "Video2World" if kind == "video2world" else "Text2World"
    values: dict[str, Any] = {
        "draws": _VIDEO if kind == "video2world" else DrawsRecipe(),
        "optimizer": OptimizerRecipe(lr=2**-14.3, weight_decay=0.1, betas=(0.9, 0.99), eps=1e-10, clip_norm=1.0),
        "schedule": ScheduleRecipe(warm_up_steps=(2500,)),
        "parallel": ParallelRecipe(shard=32, activation_checkpointing="sub-block"),
        "checkpoint": CheckpointRecipe(
            load_path=f"Cosmos-Predict1-7B-{model}-Sample-AV-Multiview/model.pt", save_iter=200
        ),
        "trainer": TrainerRecipe(max_iter=2000, seed=0),
        "log": LogRecipe(logging_iter=200),
        "model": MultiviewModel(size="7B", kind=kind),
    }
    job = Job(group=f"diffusion_{kind}", name=name)
    return MultiviewRecipe(help=help, task=TASK, workload=WORKLOAD, job=job, data=data, **(values | changes))


def _mock(height: int, width: int, num_frames: int, num_views: int = VIEWS) -> Data:
    return Data(num_frames=num_frames, height=height, width=width, num_views=num_views)


_WAYMO = Data(
    source="cosmos_cli.training.data.views:ViewFolders",
    dataset_dir="datasets/waymo",
    num_frames=57,
    height=480,
    width=848,
    num_views=len(WAYMO_VIEWS),
    view_keys=WAYMO_VIEWS,
    num_workers=8,
)
_TINY: dict[str, Any] = {
    "schedule": ScheduleRecipe(warm_up_steps=(0,)),
    "optimizer": OptimizerRecipe(lr=1e-3),
    "checkpoint": CheckpointRecipe(
        load_path="Cosmos-Predict1-Tiny-Video2World-Sample-AV-Multiview/model.pt", save_iter=10
    ),
    "trainer": TrainerRecipe(max_iter=20, precision="float32"),
    "log": LogRecipe(logging_iter=1, sample_steps=4),
    "draws": _VIDEO.model_copy(update={"given_max": 1}),  # a view has two latent frames
    "parallel": ParallelRecipe(activation_checkpointing="none"),
}

RECIPES: dict[str, Recipe] = {
    recipe.job.name: recipe
    for recipe in (
        _recipe(
            "video2world_multiview_7b_example",
            "video2world",
            "Six views, made-up clips of 704 x 1280. The warm-up is longer than the run, as in the original.",
            _mock(704, 1280, 57),
        ),
        _recipe(
            "text2world_multiview_7b_example",
            "text2world",
            "Six views without given frames, made-up clips of 704 x 1280.",
            _mock(704, 1280, 57),
        ),
        _recipe(
            "video2world_multiview_7b_example_waymo",
            "video2world",
            "Five views of Waymo Open, 480 x 848, in datasets/waymo.",
            _WAYMO,
        ),
        _recipe(
            "text2world_multiview_7b_example_waymo",
            "text2world",
            "Five views of Waymo Open without given frames, 480 x 848.",
            _WAYMO,
        ),
        _recipe(
            "tiny_video2world_multiview",
            "video2world",
            "The embedded model on made-up clips: seconds on a CPU.",
            _mock(32, 48, 9).model_copy(
                update={"num_mock_clips": 64, "num_workers": 0, "text_tokens": 16, "text_channels": TINY_TEXT_WIDTH}
            ),
            model=MultiviewModel(size="tiny"),
            **_TINY,
        ),
        _recipe(
            "tiny_worlds_multiview",
            "video2world",
            "The embedded model from chance, on what six cameras see of rendered worlds.",
            worlds_clips(
                "RenderedViews",
                num_frames=MULTIVIEW["tiny"].chunk_frames,
                height=MULTIVIEW["tiny"].height,
                width=MULTIVIEW["tiny"].width,
                num_views=VIEWS,
                # else five of six cameras could not know what moves in their view
                captions_of_all_views=True,
                text_tokens=64,
                batch_size=8,
                num_mock_clips=2000,
            ),
            model=MultiviewModel(size="tiny"),
            # of three latent frames of a view one is given, hardly noised: what cannot be seen is not carried on
            draws=_VIDEO.model_copy(
                update={"given_min": 1, "given_max": 1, "given": "per-clip", "augment_mean": -4.0, "augment_std": 1.5}
                | {"sigma_mean": 0.5, "sigma_std": 1.5, "text_dropout": 0.1}
            ),
            **learning_from_chance(10_000, 2.5e-3),
        ),
    )
}


def workload(recipe: Recipe) -> Workload:
    """What a recipe trains, in numbers."""
    assert isinstance(recipe, MultiviewRecipe)
    variant = of_size(MULTIVIEW, recipe)
    return Workload(network_of(recipe), tokenizer=variant.helpers.tokenizer)


def network_of(recipe: MultiviewRecipe) -> MultiViewConfig:
    """The network of a recipe; a file to begin with may have other view channels."""
    config = replace(of_size(MULTIVIEW, recipe).network(recipe.model.kind), n_views=recipe.data.num_views)
    model = recipe.model
    if model.view_condition_dim is not None:
        config = replace(config, view_condition_dim=model.view_condition_dim)
    if model.add_repeat_frame_embedding is not None:
        config = replace(config, add_repeat_frame_embedding=model.add_repeat_frame_embedding)
    return config
