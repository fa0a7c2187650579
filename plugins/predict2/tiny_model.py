"""Makes the tiny model that ships with the package: `python -m cosmos_plugins.predict2.tiny_model [FOLDER]`.

Same networks, same file layout, same readers as the published models, with random weights. Its size stands in
`variants.VARIANTS["tiny"]`; the files follow from that and from the seed.
"""

from __future__ import annotations

import string
import sys
from pathlib import Path

import torch
from torch import nn
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from cosmos_cli.models.minimal_dit import MinimalDiT, MinimalDiTConfig
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
    dit = _randomised(MinimalDiT(MinimalDiTConfig(**variant.dit)))
    state = {f"net.{name}": weight for name, weight in dit.items()}
    torch.save(state, folder / dit_file("tiny", fps=16))
    torch.save(_randomised(WanVAE(WanVAEConfig(**variant.vae))), folder / "tokenizer" / "tokenizer.pth")
    _make_text_encoder(root / variant.text_encoder, width=variant.dit["crossattn_emb_channels"])


def _randomised(network: nn.Module) -> dict[str, torch.Tensor]:
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


def _make_text_encoder(folder: Path, *, width: int) -> None:
    # letters are enough of a vocabulary for random weights; a space is the Unigram models' "▁"
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_letters, *string.digits, *string.punctuation]
    tokenizer = T5Tokenizer(vocab=[(piece, 0.0 if i < 3 else -1.0) for i, piece in enumerate(pieces)], extra_ids=0)
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(pieces), d_model=width, d_kv=32, d_ff=2 * width, num_layers=2, num_heads=4, dropout_rate=0.0
    )
    config.dtype = torch.bfloat16
    T5EncoderModel(config).bfloat16().save_pretrained(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_ROOT)
