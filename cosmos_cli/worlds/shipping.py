"""What a training exported becomes the file that ships.

`python -m cosmos_cli.worlds.shipping WHAT EXPORT TARGET [PREFIX]`:
WHAT is `network` or `wan-tokenizer`, whose TARGET is a file, or `cosmos-tokenizer`, whose TARGET is a folder. PREFIX
stands in front of all names of a network: `base_model.` for the base of Transfer1. Weights are bfloat16.

Networks denoise latents of mean 0 and size 1, so those of a tokenizer are measured on rendered clips. One family's
stand in a file beside the weights; the other's are numbers of its code, so the weights take them in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.media.frames import to_video
from cosmos_cli.models.chunked_tokenizer import LatentStatistics
from cosmos_cli.models.configs import TINY_COSMOS_TOKENIZER, TINY_WAN_VAE
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.tiny import MOST_LATENTS, write_tokenizer
from cosmos_cli.models.wan_vae import LATENT_MEAN, LATENT_STD, WanVAE
from cosmos_cli.worlds.cast import draw
from cosmos_cli.worlds.render import render

# C latent channels, T latent frames, N numbers of a latent channel

_CLIPS, _SIZE, _FRAMES = 48, (64, 112), 33
_RIG_SIZE = (48, 80)


def exported(export: Path) -> dict[str, Tensor]:
    """What a training exported, under the names that it has there.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    with open_checkpoint(export) as checkpoint:
        return {name: checkpoint.tensor(name) for name in checkpoint.keys()}  # noqa: SIM118


def ship_network(export: Path, target: Path, prefix: str = "") -> None:
    """Write a network."""
    _save({f"{prefix}{name}": tensor for name, tensor in exported(export).items()}, target)


def ship_wan_tokenizer(export: Path, target: Path) -> None:
    """Write the tokenizer of Predict2, whose latents have then mean 0 and size 1 in every channel."""
    weights = _own(export)
    network = WanVAE(TINY_WAN_VAE)
    network.load_state_dict(weights)
    latents_CN = torch.cat([latents.transpose(0, 1).flatten(1) for latents in _latents(network.encode)], dim=1)
    mean_C, size_C = latents_CN.mean(1), latents_CN.std(1)
    known_mean_C, known_std_C = torch.tensor(LATENT_MEAN), torch.tensor(LATENT_STD)
    # raw = raw_after * size + shift, where raw is what the network makes before the numbers of its code are applied
    shift_C = known_mean_C + mean_C * known_std_C - known_mean_C * size_C
    channels = len(mean_C)
    weights["conv1.weight"][:channels] /= size_C.view(-1, 1, 1, 1, 1)
    weights["conv1.bias"][:channels] = (weights["conv1.bias"][:channels] - shift_C) / size_C
    inward = weights["conv2.weight"]
    weights["conv2.bias"] += inward.flatten(1) @ shift_C
    weights["conv2.weight"] = inward * size_C.view(1, -1, 1, 1, 1)
    _save(weights, target)


def ship_cosmos_tokenizer(export: Path, folder: Path) -> None:
    """Write the tokenizer of the other families, with the statistics of its latents."""
    weights = _own(export)
    network = CosmosTokenizer(TINY_COSMOS_TOKENIZER)
    network.load_state_dict(weights)
    latents = list(_latents(network.encode))
    # the first latent frame is of one picture, the others of eight
    first_CN = torch.cat([each[:, :, :1].transpose(0, 1).flatten(1) for each in latents], dim=1)
    others_CN = torch.cat([each[:, :, 1:].transpose(0, 1).flatten(1) for each in latents], dim=1)
    parts = [first_CN] + [others_CN] * (MOST_LATENTS - 1)
    statistics = LatentStatistics(
        torch.stack([part_CN.mean(1) for part_CN in parts], 1), torch.stack([part_CN.std(1) for part_CN in parts], 1)
    )
    rounded = {name: weight.bfloat16() for name, weight in weights.items()}
    write_tokenizer(folder, rounded, num_latents=MOST_LATENTS, statistics=statistics)


def _own(export: Path) -> dict[str, Tensor]:
    return {name.removeprefix("net."): tensor.float() for name, tensor in exported(export).items()}


def _latents(encode: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
    """Of rendered clips, of one camera and of those of rigs in turn."""
    for number in range(_CLIPS):
        is_on_rig = number % 3 == 2
        size = _RIG_SIZE if is_on_rig else _SIZE
        scene = draw(number, size, _FRAMES, num_views=6 if is_on_rig else 1)
        frames_FHWC = render(scene, size, number % len(scene.views)).rgb_FHW3
        yield encode(to_video(frames_FHWC, torch.device("cpu"), torch.float32))


def _save(tensors: dict[str, Tensor], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: each.bfloat16() if each.is_floating_point() else each for name, each in tensors.items()}, target)


WAYS: dict[str, Callable[..., None]] = {
    "network": ship_network,
    "wan-tokenizer": ship_wan_tokenizer,
    "cosmos-tokenizer": ship_cosmos_tokenizer,
}

if __name__ == "__main__":
    what, export, target, *prefix = sys.argv[1:]
    WAYS[what](Path(export), Path(target), *prefix)
