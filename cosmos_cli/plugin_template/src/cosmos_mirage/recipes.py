"""Post-trainings by name: `cosmos mirage post-train --experiment NAME`."""

from __future__ import annotations

from cosmos_cli.training.recipe import (
    CheckpointRecipe,
    Data,
    EMARecipe,
    Job,
    LogRecipe,
    Model,
    OptimizerRecipe,
    Recipe,
    TrainerRecipe,
)

_WORLDS = Recipe(
    help="Rooms with moving solids that cosmos renders: seconds on a CPU.",
    task="cosmos_mirage.task:build",
    job=Job(group="mirage", name="mirage_worlds"),
    model=Model(size="tiny"),
    data=Data(
        # clips of your own: leave out `source`, and name their folder by data.dataset_dir
        source="cosmos_cli.worlds.source:RenderedClips",
        num_frames=9,
        height=48,
        width=80,
        text_tokens=1,
        text_channels=1,
        batch_size=4,
        num_mock_clips=64,
        num_workers=0,
    ),
    optimizer=OptimizerRecipe(lr=2e-3, weight_decay=0.0),
    ema=EMARecipe(rate=0.05),
    checkpoint=CheckpointRecipe(save_iter=50),
    trainer=TrainerRecipe(max_iter=100, precision="float32"),
    log=LogRecipe(logging_iter=10),
)

RECIPES: dict[str, Recipe] = {recipe.job.name: recipe for recipe in (_WORLDS,)}
