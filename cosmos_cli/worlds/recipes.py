"""Post-trainings of what belongs to no family, on rendered worlds; a family lists those that its tiny model needs."""

from __future__ import annotations

import math
from typing import Any

from pydantic import ValidationInfo, field_validator

from cosmos_cli.generation.variants import TINY_ROOT, TINY_TEXT_WIDTH
from cosmos_cli.models import configs
from cosmos_cli.training.recipe import (
    CheckpointRecipe,
    Data,
    DrawsRecipe,
    EMARecipe,
    Job,
    LogRecipe,
    Model,
    OptimizerRecipe,
    ParallelRecipe,
    Recipe,
    ScheduleRecipe,
    TrainerRecipe,
)

_FEWEST_FRAMES = 9
"""Of clips that a tokenizer learns to keep in time; its first weights are computed from no fewer."""

_FRAMES_OF_A_LATENT = {
    "wan": configs.TINY_WAN_VAE.temporal_factor,
    "cosmos": configs.TINY_COSMOS_TOKENIZER.temporal_compression,
}


class TokenizerRecipe(Recipe):
    """A training of a tokenizer, on clips that it reads whole."""

    @field_validator("data")
    @classmethod
    def _is_whole(cls, data: Data, info: ValidationInfo) -> Data:
        factor = _FRAMES_OF_A_LATENT[info.data["task"].partition(":")[2]]
        if data.num_frames < _FEWEST_FRAMES or (data.num_frames - 1) % factor:
            raise ValueError(
                f"num_frames must be 1 and a multiple of {factor}, {_FEWEST_FRAMES} at least, but is {data.num_frames}."
            )
        return data


TINY_T5 = str(TINY_ROOT / "google-t5" / "t5-tiny")
"""The text encoder of all tiny models."""

_STEPS = 2400


def _cosine(steps: int, warm_up: int = 100) -> ScheduleRecipe:
    return ScheduleRecipe(
        kind="cosine", warm_up_steps=(warm_up,), cycle_lengths=(steps,), f_start=(0.01,), f_max=(1.0,), f_min=(0.02,)
    )


def learning_from_chance(steps: int, rate: float = 2e-3) -> dict[str, Any]:
    """What recipes of tiny models have in common, under the names of a recipe."""
    return {
        "optimizer": OptimizerRecipe(lr=rate, weight_decay=0.01, betas=(0.9, 0.99), eps=1e-8),
        "schedule": _cosine(steps),
        "ema": EMARecipe(rate=0.05),
        "parallel": ParallelRecipe(activation_checkpointing="none"),
        "checkpoint": CheckpointRecipe(save_iter=200),
        "trainer": TrainerRecipe(max_iter=steps, precision="float32"),
        "log": LogRecipe(logging_iter=50),
    }


def worlds_clips(source: str = "RenderedClips", **changes: Any) -> Data:
    """Rendered clips with captions, read by the tiny text encoder; `changes` are fields, sizes and frames at least."""
    values: dict[str, Any] = {
        "source": f"cosmos_cli.worlds.source:{source}",
        "text_tokens": 48,
        "text_channels": TINY_TEXT_WIDTH,
        "text_encoder": TINY_T5,
        "batch_size": 16,
        "num_workers": 0,
    }
    return Data(**(values | changes))


def _tokenizer(which: str, steps: int, help: str, **data: Any) -> Recipe:
    return TokenizerRecipe(
        help=help,
        task=f"cosmos_cli.training.tokenizer_task:{which}",
        job=Job(group="tiny", name=f"tiny_{which}_tokenizer"),
        model=Model(size="tiny"),
        data=worlds_clips(
            "RenderedPieces", text_tokens=1, text_channels=1, text_encoder="", num_mock_clips=1_000_000, **data
        ),
        # what the decoder reads is off by some hundredths of the latents' size
        draws=DrawsRecipe(sigma_mean=math.log(0.05), sigma_std=0.3),
        **learning_from_chance(steps, rate=5e-4),
    )


TINY_WAN_TOKENIZER = _tokenizer(
    "wan",
    1600,
    "The tiny Wan tokenizer on pieces of rendered clips.",
    num_frames=17,
    height=48,
    width=48,
    batch_size=2,  # a convolution of one clip alone is several times slower on a CPU
)
TINY_COSMOS_TOKENIZER = _tokenizer(
    "cosmos",
    4000,
    "The tiny Cosmos tokenizer on pieces of rendered clips and controls.",
    num_frames=17,
    height=48,
    width=80,
    batch_size=2,
    hint="all",
)

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
    **learning_from_chance(_STEPS)
    | {
        "optimizer": OptimizerRecipe(lr=2e-3, weight_decay=0.01, betas=(0.9, 0.98), eps=1e-8),
        "ema": EMARecipe(),
        "checkpoint": CheckpointRecipe(save_iter=400),
        "log": LogRecipe(logging_iter=100),
    },
)
