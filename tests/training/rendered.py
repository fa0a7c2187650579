"""Rendered clips for trainings of tests: a disc that wanders over a shaded ground, seen by several cameras."""

from __future__ import annotations

import numpy as np
import torch

from cosmos_cli.training.data.examples import Example
from cosmos_cli.training.recipe import Recipe


class Discs:
    """A data set as a recipe names one: clips by number, of the recipe's size."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def __len__(self) -> int:
        return self._recipe.data.num_mock_clips

    def example(self, index: int, generator: torch.Generator) -> Example:
        data, chance = self._recipe.data, np.random.default_rng(index)
        ground, disc = chance.integers(0, 255, 3), chance.integers(0, 255, 3)
        at, speed = chance.uniform(8, 24, 2), chance.uniform(-2, 2, 2)
        rows, columns = np.mgrid[: data.height, : data.width]
        frames = []
        for view in range(data.num_views):
            for number in range(data.num_frames):
                frame = (ground * (0.5 + 0.5 * columns[..., None] / data.width)).astype(np.uint8)
                row, column = at + speed * number + (0, 4 * view)
                frame[(rows - row % data.height) ** 2 + (columns - column % data.width) ** 2 < 40] = disc
                frames.append(frame)
        text = torch.zeros(data.num_views * data.text_tokens, data.text_channels)
        return Example(f"disc {index}", torch.from_numpy(np.stack(frames)), text, data.fps)
