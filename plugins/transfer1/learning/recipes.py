"""Trainings of the tiny annotators from chance, on rendered worlds, whose depth and labels are known."""

from __future__ import annotations

from typing import Any

from cosmos_cli.training.recipe import Data, Job, Model, Recipe
from cosmos_cli.worlds.recipes import learning_from_chance

_LEARNING = "cosmos_plugins.transfer1.learning"


def _data(source: str, **changes: Any) -> Data:
    """Clips of few frames: chance has more to say than in long ones, whose frames are much alike."""
    values: dict[str, Any] = {
        "source": source,
        "num_frames": 3,
        "batch_size": 1,  # clips are of several shapes
        "global_batch_size": 4,
        "height": 64,
        "width": 112,
        "text_tokens": 1,
        "text_channels": 1,
        "num_workers": 0,
        "num_mock_clips": 1_000_000,
    }
    return Data(**(values | changes))


TINY_DEPTH = Recipe(
    help="The tiny depth estimator on rendered worlds: minutes on a CPU.",
    task=f"{_LEARNING}.depth:depth",
    job=Job(group="tiny", name="tiny_depth"),
    model=Model(size="tiny"),
    data=_data("cosmos_cli.worlds.source:LabelledClips"),
    **learning_from_chance(800),
)
