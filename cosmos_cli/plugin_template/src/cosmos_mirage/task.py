"""What Mirage gives to be trained: the network, and how far the next frame is from what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.task import Batch, Loss, Where, learning
from cosmos_mirage.network import MirageNetwork, new_network, rolled_out

# B batch, C = 3 colours, F frames, H and W pixel height and width


class MirageTask:
    """See `cosmos_cli.training.task.Task`; there is no tokenizer, what would be latents are pixels."""

    def __init__(self, network: MirageNetwork, where: Where) -> None:
        self._where = where
        self.networks = nn.ModuleDict({"net": learning(network)})
        self.frozen: Sequence[nn.Module] = ()
        self.constants: Mapping[str, Tensor] = {}
        self.tokenizer: nn.Module | None = None

    def encode(self, examples: Examples) -> Batch:
        """Colours in -1..1."""
        pixels_BCFHW = examples.frames_BFHWC.permute(0, 4, 1, 2, 3).to(self._where.device) / 127.5 - 1
        return Batch(pixels_BCFHW, examples.text_BLC.to(self._where.device), examples.fps)

    def loss(self, batch: Batch, draws: Draws) -> Loss:
        """The mean squared error of every frame from the third on; nothing is left to chance."""
        pixels = batch.latents_BCTHW
        before, now, after = (pixels[:, :, i : i + pixels.shape[2] - 2] for i in range(3))
        flat = [each.transpose(1, 2).flatten(0, 1).to(self._where.dtype) for each in (before, now)]
        told = self.networks["net"](*flat).float().unflatten(0, (len(pixels), -1)).transpose(1, 2)
        error = (told - after).square().mean()
        still = (now - after).square().mean()
        return Loss(error, {"of_still": (error / still.clamp(min=1e-9)).detach()}, told.detach())

    def share_tokens(self, group: ProcessGroup | None) -> None:
        """Ranks that could share a clip read all of it each."""

    def sample(self, batch: Batch, seed: int, num_steps: int) -> list[Tensor]:
        """The first clip, and what is made of its first frame."""
        pixels = batch.latents_BCTHW[:1]
        made = rolled_out(self.networks["net"], pixels[:, :, 0].to(self._where.dtype), pixels.shape[2]).float()
        return [to_uint8(each)[0].cpu() for each in (pixels, made)]


def to_uint8(pixels_BCFHW: Tensor) -> Tensor:
    """Colours in -1..1 as (B, F, H, W, C) uint8."""
    return ((pixels_BCFHW.float() + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 4, 1)


def build(recipe: Recipe, where: Where) -> MirageTask:
    """The task of a recipe. Raises CheckpointError: its first weights are missing, damaged or of another network."""
    path = recipe.checkpoint.load_path
    if not path:
        return MirageTask(new_network(recipe.trainer.seed).to(where.device), where)
    network = load_network(MirageNetwork, where.checkpoint_dir / path, naming=PUBLISHED, dtype=torch.float32)
    return MirageTask(network.to(where.device), where)
