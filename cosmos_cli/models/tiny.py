"""Making small models in the layout of the published ones: with random weights, or with those of a training.

`python -m cosmos_cli.models.tiny WHAT EXPORT TARGET [PREFIX]` turns what a training exported into the file that ships:
WHAT is `network` or `wan-tokenizer`, whose TARGET is a file, or `cosmos-tokenizer`, whose TARGET is a folder. PREFIX
stands in front of all names of a network: `base_model.` for the base of Transfer1.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import T5EncoderModel

from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.models.configs import CosmosTokenizerConfig
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.tiny_text import encoder_config, write_text_encoder

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


def write_tokenizer(folder: Path, weights: Mapping[str, Tensor], *, num_latents: int) -> None:
    """Write a tokenizer whose latents have mean 0 and size 1: weights in TorchScript, and these statistics."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.jit.script(_module_tree(weights)).save(folder / "autoencoder.jit")
    size = weights["quant_conv.conv3d.weight"].shape[0] * num_latents
    torch.save((torch.zeros(size), torch.ones(size)), folder / "mean_std.pt")


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


def make_text_encoder(folder: Path, *, width: int) -> None:
    """Write a T5 encoder with random weights, with its tokenizer, in the Hugging Face layout."""
    write_text_encoder(folder, T5EncoderModel(encoder_config(width)))


def trained(export: Path) -> dict[str, Tensor]:
    """What a training exported, in bfloat16, under the names that it has there."""
    with open_checkpoint(export) as checkpoint:
        tensors = {name: checkpoint.tensor(name) for name in checkpoint.keys()}  # noqa: SIM118
    return {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def write_trained(what: str, export: Path, target: Path, prefix: str = "") -> None:
    """Write what a training exported as the file, or the folder, that ships; see the module.

    Raises:
        CheckpointError: the export is missing or damaged.
        ValueError: `what` is none of these.
    """
    weights = trained(export)
    own = {name.removeprefix("net."): weight for name, weight in weights.items()}
    if what == "cosmos-tokenizer":
        write_tokenizer(target, own, num_latents=MOST_LATENTS)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if what == "network":
        torch.save({f"{prefix}{name}": weight for name, weight in weights.items()}, target)
    elif what == "wan-tokenizer":
        torch.save(own, target)
    else:
        raise ValueError(f"{what!r} is neither network, wan-tokenizer nor cosmos-tokenizer")


if __name__ == "__main__":
    what, export, target, *prefix = sys.argv[1:]
    write_trained(what, Path(export), Path(target), *prefix)
