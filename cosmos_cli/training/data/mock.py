"""Made-up clips, as the originals' examples train on: noise of every value, with texts of noise."""

from __future__ import annotations

import torch

from cosmos_cli.training.data.examples import Example
from cosmos_cli.training.recipe import Recipe


class MockClips:
    """Clips that depend on the recipe's seed and their number alone."""

    hints_stand_apart = True

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def __len__(self) -> int:
        return self._recipe.data.num_mock_clips

    def example(self, index: int, generator: torch.Generator) -> Example:
        """The clip of a number."""
        data = self._recipe.data
        own = torch.Generator().manual_seed(self._recipe.trainer.seed * 1_000_003 + index)
        shape = (data.num_views * data.num_frames, data.height, data.width, 3)
        frames = torch.randint(0, 255, shape, dtype=torch.uint8, generator=own)
        text = torch.randn(data.num_views * data.text_tokens, data.text_channels, generator=own)
        hints = {data.hint: torch.randint(0, 255, shape, dtype=torch.uint8, generator=own)} if data.hint else {}
        return Example(f"mock clip {index}", frames, text, data.fps, hints_FHWC=hints)
