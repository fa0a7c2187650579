"""Teaching the tiny depth estimator how near things are in rendered worlds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from transformers import DepthAnythingForDepthEstimation

from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.task import Batch, Loss, Where, learning
from cosmos_plugins.transfer1.controls.tiny_networks import depth_network
from cosmos_plugins.transfer1.learning.pictures import batch_of, begun

# N pictures, H and W pixel height and width

_NEARNESS = 10.0
"""Metres at which a network says 1: it gives this by the distance, from 0.6 at the far wall to 3 nearby."""
_STEPS = 2.0
"""Weight of the differences between neighbouring pixels, which hold the rims of things."""


class DepthTask:
    """See the module and `cosmos_cli.training.task.Task`.

    The inverse depth is learnt as it is, not up to a scale of each picture's own: frames of a video shall agree.
    """

    def __init__(self, network: DepthAnythingForDepthEstimation, device: torch.device) -> None:
        self._device = device
        self.networks = nn.ModuleDict({"net": learning(network)})
        self.frozen: Sequence[nn.Module] = ()
        self.constants: Mapping[str, Tensor] = {}
        self.tokenizer: nn.Module | None = None

    def encode(self, examples: Examples) -> Batch:
        """Pictures, and the depth of their pixels."""
        return batch_of(examples, self._device)

    def loss(self, batch: Batch, draws: Draws) -> Loss:
        """See `cosmos_cli.training.task.Task`; nothing is left to chance."""
        near_NHW = _NEARNESS / batch.extras["depth"].flatten(0, 1)
        told_NHW = self.networks["net"](batch.extras["pixels"].flatten(0, 1)).predicted_depth
        error_NHW = told_NHW - near_NHW
        level, steps = error_NHW.abs().mean(), error_NHW.diff(dim=1).abs().mean() + error_NHW.diff(dim=2).abs().mean()
        parts = {"level": level.detach(), "steps": steps.detach(), "correlation": correlation(told_NHW, near_NHW)}
        return Loss(level + _STEPS * steps, parts, batch.latents_BCTHW)

    def share_tokens(self, group: ProcessGroup | None) -> None:
        """Pictures are small: ranks that could share one read all of it each."""

    def sample(self, batch: Batch, seed: int, num_steps: int) -> list[Tensor]:
        """The first clip, and beside it how near things are: what is known, and what the network says."""
        near_FHW = _NEARNESS / batch.extras["depth"][0]
        told_FHW = self.networks["net"](batch.extras["pixels"][0]).predicted_depth
        low, high = near_FHW.min(), near_FHW.max()
        greys = [((each - low) / (high - low)).clamp(0, 1) for each in (near_FHW, told_FHW)]
        return [torch.cat([(grey[..., None] * 255).byte().expand(-1, -1, -1, 3) for grey in greys], dim=2).cpu()]


@torch.no_grad()
def correlation(told_NHW: Tensor, known_NHW: Tensor) -> Tensor:
    """Pearson's, over all pixels together; a scalar."""
    told, known = (each.flatten() - each.mean() for each in (told_NHW, known_NHW))
    return (told @ known) / (told.norm() * known.norm()).clamp(min=1e-9)


def depth(recipe: Recipe, where: Where) -> DepthTask:
    """The task of a recipe; see `cosmos_cli.training.task.BuildTask`."""
    return DepthTask(begun(depth_network, recipe, where), where.device)
