"""Makes a tokenizer of videos for the tiny models: `python -m cosmos_cli.generation.tiny_helpers [FOLDER]`.

It has random weights, in the layout of the published one. Its size stands in `variants.TINY_HELPERS`; the file follows
from that and from the seed. The text encoder beside it is trained, see `cosmos_cli.models.tiny_text`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from cosmos_cli.checkpoints.catalogue import VIDEO_TOKENIZER
from cosmos_cli.generation.variants import LONGEST_CHUNK_FRAMES, TINY_HELPERS, TINY_ROOT
from cosmos_cli.models.tiny import make_tokenizer

SEED = 20260104


def make(root: Path) -> None:
    """Write the tokenizer under the checkpoint folder `root`."""
    torch.manual_seed(SEED)
    make_tokenizer(root / VIDEO_TOKENIZER.name, TINY_HELPERS.tokenizer, chunk_frames=LONGEST_CHUNK_FRAMES)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_ROOT)
