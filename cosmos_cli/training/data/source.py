"""Data sets, by the import string of a recipe."""

from __future__ import annotations

from typing import Protocol

import torch

from cosmos_cli.errors import InputError
from cosmos_cli.import_strings import resolve
from cosmos_cli.runtime.extensions import blaming
from cosmos_cli.training.data.examples import Example
from cosmos_cli.training.recipe import Recipe


class Dataset(Protocol):
    """Clips by number. `recipe.data.source` names what makes one: `Source(recipe) -> Dataset`.

    It may say more of itself, for latents that are kept: `identity`, a text that differs where clips do, if they depend
    on more than `recipe.data`, the files in its folder and the seed; `hints_stand_apart`, whether an example is the
    same but for its hints whatever `data.hint` is.
    """

    def __len__(self) -> int: ...

    def example(self, index: int, generator: torch.Generator) -> Example:
        """A clip.

        Args:
            generator: for all that chance decides, such as which part of a long clip; nothing else may.
        Raises:
            InputError: the clip cannot be read.
        """
        ...


def open_dataset(recipe: Recipe) -> Dataset:
    """The data set of a recipe. Raises InputError: it is not there, or not as it should be."""
    make = resolve(recipe.data.source, needed_by="data.source", is_given=True)
    with blaming(f"data.source {recipe.data.source}"):
        dataset: Dataset = make(recipe)
    if not callable(getattr(dataset, "example", None)):
        raise InputError(
            f"{recipe.data.source} makes no data set: what it gives has no examples.",
            where="data.source",
            fix="Name a class of clips, such as cosmos_cli.training.data.mock:MockClips.",
        )
    return dataset
