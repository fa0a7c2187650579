"""Making small models with random weights in the layout of the published ones."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel, T5Tokenizer


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


def make_text_encoder(folder: Path, *, width: int) -> None:
    """Write a T5 encoder of two layers, with its tokenizer, in the Hugging Face layout."""
    # letters are enough of a vocabulary for random weights; a space is the Unigram models' "▁"
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_letters, *string.digits, *string.punctuation]
    tokenizer = T5Tokenizer(vocab=[(piece, 0.0 if i < 3 else -1.0) for i, piece in enumerate(pieces)], extra_ids=0)
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(pieces), d_model=width, d_kv=32, d_ff=2 * width, num_layers=2, num_heads=4, dropout_rate=0.0
    )
    config.dtype = torch.bfloat16
    T5EncoderModel(config).bfloat16().save_pretrained(folder)
