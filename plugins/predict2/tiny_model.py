"""Makes the tiny model that ships with the package: `python -m cosmos_plugins.predict2.tiny_model [FOLDER]`.

Same networks, same file layout, same readers as the published models, with random weights. Its size stands in
`variants.VARIANTS["tiny"]`; the files follow from that and from the seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from cosmos_cli.models.minimal_dit import MinimalDiT, MinimalDiTConfig
from cosmos_cli.models.tiny import make_text_encoder, random_weights
from cosmos_cli.models.wan_vae import WanVAE, WanVAEConfig
from cosmos_plugins.predict2.checkpoints import TINY_ROOT, dit_file
from cosmos_plugins.predict2.variants import VARIANTS

SEED = 20260101


def make(root: Path) -> None:
    """Write the DiT, the tokenizer and the text encoder under the checkpoint folder `root`."""
    variant = VARIANTS["tiny"]
    folder = root / variant.folder
    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    dit = random_weights(MinimalDiT(MinimalDiTConfig(**variant.dit)))
    torch.save({f"net.{name}": weight for name, weight in dit.items()}, folder / dit_file("tiny", fps=16))
    torch.save(random_weights(WanVAE(WanVAEConfig(**variant.vae))), folder / "tokenizer" / "tokenizer.pth")
    make_text_encoder(root / variant.text_encoder, width=variant.dit["crossattn_emb_channels"])


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_ROOT)
