"""Folders of prepared samples of the size of the tiny model, as `prepare-dataset` leaves them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

TEXT_WIDTH = 128


def prepared(folder: Path, num_samples: int, *, num_latents: int = 2, rows: int = 6, columns: int = 10) -> Path:
    """Samples of noise that is the same for everybody, all under one text."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(7)
    text = torch.zeros(512, TEXT_WIDTH)
    text[:9] = torch.randn(9, TEXT_WIDTH, generator=generator)
    for number in range(num_samples):
        latents = torch.randn(16, num_latents, rows, columns, generator=generator)
        tensors = {
            "video_latent": latents,
            "conditioning_latent": latents,
            "t5_text_embeddings": text,
            "t5_text_mask": torch.ones(512),
        }
        for kind, tensor in tensors.items():
            torch.save(tensor.bfloat16(), folder / f"{number}.{kind}.pth")
        info = {"height": 96, "width": 160, "fps": 29.97, "num_frames": 8 * num_latents - 7, "start_frame": number}
        (folder / f"{number}.info.json").write_text(json.dumps(info))
    return folder
