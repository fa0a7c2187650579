"""Makes what the tiny models of all families share: `python -m cosmos_cli.generation.tiny_helpers [FOLDER]`.

A tokenizer of videos and a text encoder with random weights, in the layout of the published ones. Their sizes stand in
`variants.TINY_HELPERS`; the files follow from that and from the seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from cosmos_cli.checkpoints.catalogue import VIDEO_TOKENIZER
from cosmos_cli.generation.variants import LONGEST_CHUNK_FRAMES, TINY_HELPERS, TINY_ROOT, TINY_TEXT_WIDTH
from cosmos_cli.models.tiny import make_text_encoder, make_tokenizer

SEED = 20260104


def make(root: Path) -> None:
    """Write the tokenizer and the text encoder under the checkpoint folder `root`."""
    torch.manual_seed(SEED)
    make_tokenizer(root / VIDEO_TOKENIZER.name, TINY_HELPERS.tokenizer, chunk_frames=LONGEST_CHUNK_FRAMES)
    make_text_encoder(root / TINY_HELPERS.text_encoder, width=TINY_TEXT_WIDTH)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_ROOT)
