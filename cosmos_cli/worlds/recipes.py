"""Post-trainings of what belongs to no family, on rendered worlds; a family lists those that its tiny model needs."""

from __future__ import annotations

from cosmos_cli.training.recipe import (
    CheckpointRecipe,
    Data,
    Job,
    LogRecipe,
    Model,
    OptimizerRecipe,
    ParallelRecipe,
    Recipe,
    ScheduleRecipe,
    TrainerRecipe,
)

_STEPS = 2400

TINY_TEXT_ENCODER = Recipe(
    help="The tiny T5 on captions of rendered worlds, without clips: minutes on a CPU.",
    task="cosmos_cli.training.text_task:text_encoder",
    job=Job(group="tiny", name="tiny_text_encoder"),
    model=Model(size="tiny"),
    data=Data(
        source="cosmos_cli.worlds.captions:Captions",
        num_frames=1,
        height=16,
        width=16,
        text_tokens=48,
        text_channels=128,
        batch_size=64,
        num_workers=0,
        num_mock_clips=1_000_000,
    ),
    optimizer=OptimizerRecipe(lr=2e-3, weight_decay=0.01, betas=(0.9, 0.98), eps=1e-8),
    schedule=ScheduleRecipe(
        kind="cosine", warm_up_steps=(100,), cycle_lengths=(_STEPS,), f_start=(0.01,), f_max=(1.0,), f_min=(0.02,)
    ),
    parallel=ParallelRecipe(activation_checkpointing="none"),
    checkpoint=CheckpointRecipe(save_iter=400),
    trainer=TrainerRecipe(max_iter=_STEPS, precision="float32"),
    log=LogRecipe(logging_iter=100),
)
