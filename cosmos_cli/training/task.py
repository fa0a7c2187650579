"""What a family gives to be trained: networks, and the loss of a batch under given draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor, nn

from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.recipe import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from torch.distributed import ProcessGroup

    from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer

# B batch, C latent channels, T latent frames of all views, H and W latent height and width; L text positions


@dataclass(frozen=True)
class Batch:
    """Clips as the networks read them.

    latents_BCTHW: clean, as the tokenizer's statistics and sigma_data scale them, float32 unless a golden file says
        otherwise.
    text_BLC: embeddings, before any is dropped.
    fps: of all clips.
    padding_mask_B1HW: 1 on padded pixels, of any size; None is none.
    hints: latents of control videos by name, (B, C, T, H, W).
    extras: what else this family's networks read.
    """

    latents_BCTHW: Tensor
    text_BLC: Tensor
    fps: float
    padding_mask_B1HW: Tensor | None = None
    hints: Mapping[str, Tensor] = field(default_factory=dict)
    extras: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Loss:
    """What one forward pass gives.

    total: what is minimised, a scalar with gradients. parts: scalars for the log, without.
    x0_BCTHW: the prediction of the clean latents, detached.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    x0_BCTHW: Tensor


@dataclass(frozen=True)
class Where:
    """Where networks are built.

    device: with an index if it is a GPU.
    dtype: of the arithmetic; the trained parameters are float32, frozen networks are of this.
    checkpoint_dir: folder of the published files.
    attention: backend.
    """

    device: torch.device
    dtype: torch.dtype
    checkpoint_dir: Path
    attention: str = "sdpa"


class Task(Protocol):
    """A family's part of a post-training. `recipe.task` names what builds one: `build(recipe, where) -> Task`.

    networks: what is trained, averaged, saved and exported, under the first parts of the published keys: `net` and,
        where the uncertainty is learnt, `logvar`. Parameters are float32; those with `requires_grad` False stay.
    frozen: networks that only compute, such as the base under a control branch.
    constants: what published files hold beside the weights, by published name; it goes into exported ones.

    Large networks, trained or frozen, have `blocks`: activations are thrown away, and parameters sharded, between them.
    """

    networks: nn.ModuleDict
    frozen: Sequence[nn.Module]
    constants: Mapping[str, Tensor]

    @property
    def tokenizer(self) -> nn.Module | ChunkedTokenizer | None:
        """What `encode` makes latents with; None where it encodes no frames. Tasks with the same one encode alike."""
        ...

    def encode(self, examples: Examples) -> Batch:
        """Clips as latents, on the device; called without gradients."""
        ...

    def loss(self, batch: Batch, draws: Draws) -> Loss:
        """The loss of a batch under these draws. Calls each of `networks` through its `forward`."""
        ...

    def share_tokens(self, group: ProcessGroup | None) -> None:
        """From now on the tokens of a clip are shared among these processes (context parallel)."""
        ...

    def sample(self, batch: Batch, seed: int, num_steps: int) -> list[Tensor]:
        """Videos that the networks make now, for people to look at: (F, H, W, 3) uint8 each."""
        ...


class BuildTask(Protocol):
    """Raises CheckpointError: weights are missing, damaged or of another network; InputError: the recipe is wrong."""

    def __call__(self, recipe: Recipe, where: Where, /) -> Task: ...


M = TypeVar("M", bound=nn.Module)


def learning(network: M) -> M:
    """A network that was filled from a file, now to be trained. A family freezes afterwards what is to stay.

    Its parameters may still be those of the file: `Parallel.wrap` gives them memory of their own.
    """
    return network.requires_grad_(True)
