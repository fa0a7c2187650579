"""What the tasks of the annotators have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.errors import CheckpointError
from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.task import Batch, Where

# B clips, F frames, N = B * F pictures, H and W pixel height and width, C = 3 colours

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours in 0..1, which all annotators take out of a picture."""

M = TypeVar("M", bound=nn.Module)


def pixels(frames_NHWC: Tensor) -> Tensor:
    """(N, C, H, W) float32, from uint8 RGB; their size stays."""
    mean, std = (torch.tensor(values, device=frames_NHWC.device).view(3, 1, 1) for values in (MEAN, STD))
    return (frames_NHWC.permute(0, 3, 1, 2) / 255 - mean) / std


def batch_of(examples: Examples, device: torch.device) -> Batch:
    """Pictures as `extras["pixels"]`, (B, F, C, H, W), beside what else is known of the clips.

    What would be latents are zeros of one pixel a frame, for draws of chance.
    """
    frames_BFHWC = examples.frames_BFHWC.to(device)
    B, F = frames_BFHWC.shape[:2]
    extras = {name: tensor.to(device) for name, tensor in examples.extras.items()}
    extras["pixels"] = pixels(frames_BFHWC.flatten(0, 1)).unflatten(0, (B, F))
    places = torch.zeros(B, 1, F, 2, 2, device=device)
    return Batch(places, examples.text_BLC.to(device), examples.fps, extras=extras)


def begun(build: Callable[[], M], recipe: Recipe, where: Where) -> M:
    """A network as a recipe begins with it: random from its seed, or with the weights that it names.

    Raises:
        CheckpointError: weights are missing, damaged or of another network.
    """
    torch.manual_seed(recipe.trainer.seed)
    network = build()
    path = recipe.checkpoint.load_path
    return filled(network, where.checkpoint_dir / path) if path else network


def filled(network: M, export: Path) -> M:
    """The network with the weights that a training has exported.

    Raises:
        CheckpointError: they are missing, damaged or of another network.
    """
    # not built without memory, as other networks are: those of transformers hold tables that no file has
    with open_checkpoint(export) as checkpoint:
        weights = {name.removeprefix("net."): checkpoint.tensor(name).float() for name in checkpoint.keys()}  # noqa: SIM118
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"holds other weights than {type(network).__name__} has: {error}",
            where=str(export),
            fix="Name an export of the recipe that trains this network.",
        ) from error
    return network
