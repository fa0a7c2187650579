"""Makes the tiny model that ships with the package: `python -m cosmos_plugins.transfer1.tiny_model [FOLDER]`.

Same networks, same file layout, same readers as the published models, with random weights. Its size stands in
`variants.VARIANTS["tiny"]`; the files follow from that and from the seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.tiny import make_text_encoder, random_weights
from cosmos_plugins.transfer1.checkpoints import TINY_ROOT, TOKENIZER, base_file, control_file
from cosmos_plugins.transfer1.networks import base_config, branch_config, tokenizer_config
from cosmos_plugins.transfer1.variants import CHUNK_FRAMES, VARIANTS

SEED = 20260102
CONTROLS = ("vis", "edge", "depth", "seg")


def make(root: Path) -> None:
    """Write the base, four control branches, the tokenizer and the text encoder under the checkpoint folder `root`."""
    variant = VARIANTS["tiny"]
    torch.manual_seed(SEED)
    base = random_weights(GeneralDiT(base_config(variant, driving=False)))
    _save({f"base_model.net.{name}": weight for name, weight in base.items()}, root / base_file(variant, driving=False))
    for name in CONTROLS:
        branch = random_weights(ControlBranch(branch_config(variant, driving=False)))
        _save({f"net.{key}": weight for key, weight in branch.items()}, root / control_file(name))
    tokenizer = CosmosTokenizer(tokenizer_config(variant))
    folder = root / TOKENIZER.name
    folder.mkdir(parents=True, exist_ok=True)
    torch.jit.script(_module_tree(random_weights(tokenizer))).save(folder / "autoencoder.jit")
    size = (tokenizer.config.latent_channels, tokenizer.num_latent_frames(CHUNK_FRAMES))
    torch.save((torch.zeros(size).flatten(), torch.ones(size).flatten()), folder / "mean_std.pt")
    make_text_encoder(root / variant.text_encoder, width=variant.dit["crossattn_emb_channels"])


def _module_tree(weights: dict[str, torch.Tensor]) -> nn.Module:
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


def _save(weights: dict[str, torch.Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_ROOT)
