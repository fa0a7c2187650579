"""Makes the tiny models that ship with the package: `python -m cosmos_plugins.predict2.tiny_model [FOLDER]`.

Same networks, same file layout, same readers as the published models, with random weights. Their sizes stand in
`variants`, under "tiny"; the files follow from that and from the seed. All share one tokenizer; the text encoder is
trained, see `cosmos_cli.models.tiny_text`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.models.action_dit import ActionDiT
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.minimal_multiview_dit import MinimalMultiviewDiT
from cosmos_cli.models.tiny import random_weights
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_plugins.predict2.checkpoints import dit_file
from cosmos_plugins.predict2.variants import ACTION, MULTIVIEW, TEXT2IMAGE, VARIANTS

SEED = 20260101


def make(root: Path) -> None:
    """Write the DiTs and the tokenizer under the checkpoint folder `root`."""
    variant = VARIANTS["tiny"]
    folder = root / variant.folder
    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    _save(MinimalDiT(variant.dit), folder / dit_file("tiny", fps=16))
    torch.save(random_weights(WanVAE(variant.vae)), folder / "tokenizer" / "tokenizer.pth")
    text2image, multiview, action = TEXT2IMAGE["tiny"], MULTIVIEW["tiny"], ACTION["tiny"]
    _save(MinimalDiT(text2image.dit), root / text2image.dit_file)
    _save(MinimalMultiviewDiT(multiview.dit), root / multiview.dit_file)
    _save(ActionDiT(action.dit), root / action.dit_file)


def _save(dit: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({f"net.{name}": weight for name, weight in random_weights(dit).items()}, path)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_ROOT)
