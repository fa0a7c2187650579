"""Making small models with random weights, in the layout of the published ones; trained ones: `worlds.shipping`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cosmos_cli.models.chunked_tokenizer import LatentStatistics
from cosmos_cli.models.configs import CosmosTokenizerConfig
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer

MOST_LATENTS = 16
"""Latent frames that the tokenizer of the tiny models has statistics for."""


def random_weights(network: nn.Module) -> dict[str, Tensor]:
    """bfloat16 weights that keep activations near unit size, whatever the network was initialised with."""
    weights = {}
    for name, parameter in network.named_parameters():
        if parameter.ndim >= 2 and not name.endswith("gamma"):
            fan_in = parameter[0].numel()
            values = torch.randn_like(parameter) * fan_in**-0.5
        else:
            values = torch.zeros_like(parameter) if name.endswith("bias") else torch.ones_like(parameter)
        weights[name] = values.detach().to(torch.bfloat16)
    return weights


def make_tokenizer(folder: Path, config: CosmosTokenizerConfig, *, chunk_frames: int) -> None:
    """Write a tokenizer of videos with random weights for chunks of `chunk_frames` frames."""
    tokenizer = CosmosTokenizer(config)
    write_tokenizer(folder, random_weights(tokenizer), num_latents=tokenizer.num_latent_frames(chunk_frames))


def write_tokenizer(
    folder: Path, weights: Mapping[str, Tensor], *, num_latents: int, statistics: LatentStatistics | None = None
) -> None:
    """Write a tokenizer: weights in TorchScript, and statistics of so many latent frames; None is mean 0 and size 1."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.jit.script(_module_tree(weights)).save(folder / "autoencoder.jit")
    size = weights["quant_conv.conv3d.weight"].shape[0], num_latents
    known = statistics or LatentStatistics(torch.zeros(size), torch.ones(size))
    torch.save((known.mean_CT.flatten(), known.std_CT.flatten()), folder / "mean_std.pt")


def _module_tree(weights: Mapping[str, Tensor]) -> nn.Module:
    """Modules without code that hold the weights under their names: what a TorchScript file needs to carry them."""
    root = nn.Module()
    for name, weight in weights.items():
        *parents, last = name.split(".")
        module = root
        for parent in parents:
            if parent not in dict(module.named_children()):
                module.add_module(parent, nn.Module())
            module = module.get_submodule(parent)
        module.register_parameter(last, nn.Parameter(weight, requires_grad=False))
    return root
