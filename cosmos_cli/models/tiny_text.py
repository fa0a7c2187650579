"""The tiny text encoder, in the Hugging Face layout: `python -m cosmos_cli.models.tiny_text EXPORT FOLDER`.

EXPORT is what a training by the recipe `tiny_text_encoder` leaves, FOLDER that of the encoder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from cosmos_cli.checkpoints.keys import Naming
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.models.tiny_words import END, MASK, PAD, UNKNOWN, pieces

WIDTH = 128
"""Of the embeddings that the tiny networks read."""


def tokenizer() -> PreTrainedTokenizerFast:
    """As of T5, but that capitals are small letters, and that no text has parts which it does not know."""
    own = Tokenizer(Unigram(list(pieces().items()), unk_id=2, byte_fallback=True))
    own.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    own.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    own.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    own.post_processor = processors.TemplateProcessing(
        single=["$A", END], pair=["$A", END, "$B", END], special_tokens=[(END, list(pieces()).index(END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=own, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, extra_special_tokens=[MASK]
    )


def encoder_config(width: int) -> T5Config:
    """Of two layers."""
    return T5Config(
        vocab_size=len(pieces()),
        d_model=width,
        d_kv=32,
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        architectures=["T5EncoderModel"],
    )


def write_text_encoder(folder: Path, encoder: T5EncoderModel) -> None:
    """Its configuration, tokenizer and weights, in bfloat16."""
    tokenizer().save_pretrained(folder)
    encoder.bfloat16().save_pretrained(folder)


def write_trained(export: Path, folder: Path) -> None:
    """Write the encoder that a training has exported.

    Raises:
        CheckpointError: the export is missing, damaged or of another network.
    """
    naming = Naming(("net.encoder.",), beside=("net.before.*", "net.behind.*"))
    with open_checkpoint(export, naming.wrappers) as checkpoint:
        stack = load_network(lambda: T5EncoderModel(encoder_config(WIDTH)).encoder, checkpoint, naming=naming)
    encoder = T5EncoderModel(encoder_config(WIDTH))
    encoder.encoder.load_state_dict(stack.state_dict())
    write_text_encoder(folder, encoder)


if __name__ == "__main__":
    write_trained(*map(Path, sys.argv[1:]))
