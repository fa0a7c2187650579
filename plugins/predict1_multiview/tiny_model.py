"""Makes the tiny models that ship with the package: `python -m cosmos_plugins.predict1_multiview.tiny_model [FOLDER]`.

Same networks, same file layout, same readers as the published models, with random weights. Their sizes stand in
`variants`, under "tiny"; the files follow from that and from the seed. The tokenizer is written by
`cosmos_cli.generation.tiny_helpers`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import torch

from cosmos_cli.generation.networks import build_dit
from cosmos_cli.generation.variants import TINY_ROOT, Kind
from cosmos_cli.generation.weights import WEIGHTS
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_cli.models.tiny import random_weights
from cosmos_cli.training.objectives import LogVariance
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW, SINGLE_VIEW

SEED = 20260103


def make(root: Path) -> None:
    """Write all networks under the checkpoint folder `root`."""
    make_multiview(root)
    make_single_view(root)


def make_multiview(root: Path) -> None:
    """Write the networks for several cameras."""
    variant = MULTIVIEW["tiny"]
    torch.manual_seed(SEED)
    for kind in get_args(Kind):
        save_dit(variant.network(kind), root / "nvidia" / variant.folder_of(kind) / WEIGHTS)


def make_single_view(root: Path) -> None:
    """Write the networks for one camera."""
    variant = SINGLE_VIEW["tiny"]
    torch.manual_seed(SEED)
    for kind in get_args(Kind):
        save_dit(variant.network(kind), root / "nvidia" / variant.folder_of(kind) / WEIGHTS)


def save_dit(config: GeneralDiTConfig, path: Path) -> None:
    """Write a network with random weights, beside the head of its loss, as published files are."""
    weights = {f"net.{name}": weight for name, weight in random_weights(build_dit(config)).items()}
    head = {f"logvar.{name}": tensor.bfloat16() for name, tensor in LogVariance().state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights | head, path)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_ROOT)
