"""How the processes of a training share the work. This part plans and imports nothing heavy; `parallel.py` does it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cosmos_cli.errors import InputError
from cosmos_cli.training.recipe import ParallelRecipe


@dataclass(frozen=True)
class TrainingLayout:
    """How many processes there are along each axis of the mesh; together they are the product.

    Args:
        dp_replicate: copies of the parameters.
        dp_shard: data-parallel ranks that share one copy.
        cp: ranks that share the tokens of a clip; they share the parameters too.
        tp: ranks that share every layer.
    """

    dp_replicate: int = 1
    dp_shard: int = 1
    cp: int = 1
    tp: int = 1

    @property
    def dp(self) -> int:
        """Ranks, or groups of ranks, that read clips of their own."""
        return self.dp_replicate * self.dp_shard

    @property
    def fsdp(self) -> int:
        """Ranks that share one copy of the parameters (FSDP2), each of them a tp-th of it."""
        return self.dp_shard * self.cp

    @property
    def world_size(self) -> int:
        return self.dp * self.cp * self.tp

    def describe(self) -> str:
        """One line for people."""
        parts = [f"{self.dp} clips at a time"] if self.dp > 1 else []
        if self.fsdp > 1:
            copies = f" in each of {self.dp_replicate} copies" if self.dp_replicate > 1 else ""
            parts.append(f"parameters on {self.fsdp}{copies}")
        if self.cp > 1:
            parts.append(f"each clip's tokens on {self.cp}")
        if self.tp > 1:
            parts.append(f"each layer on {self.tp}")
        devices = "1 device" if self.world_size == 1 else f"{self.world_size} devices"
        return ": ".join([devices, *([", ".join(parts)] if parts else [])])


def training_layout(recipe: ParallelRecipe, world_size: int) -> TrainingLayout:
    """The layout of a recipe on so many processes.

    As many ranks share a copy of the parameters as `shard` allows and their number divides.

    Raises:
        InputError: the processes do not divide among `cp` and `tp`.
    """
    together = recipe.cp * recipe.tp
    if world_size % together:
        raise InputError(
            f"cp {recipe.cp} x tp {recipe.tp} = {together} ranks work on a clip, which does not divide the "
            f"{world_size} of this run.",
            where="parallel",
            fix=_fix(recipe, world_size),
        )
    dp = world_size // together
    dp_shard = max(n for n in range(1, dp + 1) if dp % n == 0 and (n == 1 or n * recipe.cp <= recipe.shard))
    return TrainingLayout(dp // dp_shard, dp_shard, recipe.cp, recipe.tp)


def check_heads(recipe: ParallelRecipe, num_heads: Iterable[int]) -> None:
    """Raises InputError if heads do not divide among the ranks that work on a clip.

    Args:
        num_heads: attention heads of every network.
    """
    for heads in num_heads:
        if heads % (recipe.cp * recipe.tp):
            known = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
            raise InputError(
                f"cp {recipe.cp} x tp {recipe.tp} does not divide the {heads} attention heads of this model.",
                where="parallel",
                fix=f"Choose parallel.cp and parallel.tp whose product is one of {known}.",
            )


def _fix(recipe: ParallelRecipe, world_size: int) -> str:
    together = recipe.cp * recipe.tp
    nearest = world_size // together * together or together
    divisors = ", ".join(str(n) for n in range(1, world_size + 1) if world_size % n == 0)
    return f"Start {nearest} processes, or choose parallel.cp and parallel.tp whose product is one of {divisors}."
