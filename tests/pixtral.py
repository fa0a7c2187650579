"""A tiny Pixtral with random weights, in the files that Mistral publishes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

WORDS = [b"th", b"he", b"the", b" the", b" a", b"bu", b"bus", b" bus", "ä".encode()]
NUM_CONTROL = 24
PARAMS: dict[str, Any] = {
    "dim": 24,
    "n_layers": 2,
    "head_dim": 8,
    "hidden_dim": 40,
    "n_heads": 4,
    "n_kv_heads": 2,
    "rope_theta": 1e4,
    "norm_eps": 1e-5,
    "vocab_size": NUM_CONTROL + 256 + len(WORDS),
    "vision_encoder": {
        "hidden_size": 32,
        "num_channels": 3,
        "image_size": 64,
        "patch_size": 8,
        "rope_theta": 100.0,
        "intermediate_size": 36,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_token_id": 10,
        "image_break_token_id": 12,
        "image_end_token_id": 13,
        "adapter_bias": True,
    },
}
VISION = PARAMS["vision_encoder"]


def build_pixtral(folder: Path) -> Path:
    """A Pixtral of two layers with random weights, in the files that Mistral publishes."""
    folder.mkdir(parents=True)
    shapes = {
        "tok_embeddings.weight": (PARAMS["vocab_size"], 24),
        "norm.weight": (24,),
        "output.weight": (PARAMS["vocab_size"], 24),
        "vision_encoder.patch_conv.weight": (32, 3, 8, 8),
        "vision_encoder.ln_pre.weight": (32,),
        "vision_language_adapter.w_in.weight": (24, 32),
        "vision_language_adapter.w_in.bias": (24,),
        "vision_language_adapter.w_out.weight": (24, 24),
        "vision_language_adapter.w_out.bias": (24,),
    }
    for i in range(2):
        shapes |= layer(f"layers.{i}", width=24, heads=4 * 8, kv_heads=2 * 8, hidden=40)
        shapes |= layer(f"vision_encoder.transformer.layers.{i}", width=32, heads=32, kv_heads=32, hidden=36)
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(shape, generator=generator) * (0.3 if len(shape) > 1 else 0.1) + (len(shape) == 1)
        for name, shape in shapes.items()
    }
    save_file(weights, folder / "consolidated.safetensors")
    (folder / "params.json").write_text(json.dumps(PARAMS))
    tokens = [bytes([i]) for i in range(256)] + WORDS + [b"beyond the vocabulary"]
    vocab = [{"rank": i, "token_bytes": base64.b64encode(token).decode()} for i, token in enumerate(tokens)]
    settings = {
        "pattern": r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "default_vocab_size": PARAMS["vocab_size"],
        "default_num_special_tokens": NUM_CONTROL,
        "version": "v3",
    }
    (folder / "tekken.json").write_text(json.dumps({"config": settings, "vocab": vocab}))
    return folder


def layer(name: str, *, width: int, heads: int, kv_heads: int, hidden: int) -> dict[str, tuple[int, ...]]:
    shapes = {
        "attention.wq": (heads, width),
        "attention.wk": (kv_heads, width),
        "attention.wv": (kv_heads, width),
        "attention.wo": (width, heads),
        "feed_forward.w1": (hidden, width),
        "feed_forward.w2": (width, hidden),
        "feed_forward.w3": (hidden, width),
        "attention_norm": (width,),
        "ffn_norm": (width,),
    }
    return {f"{name}.{part}.weight": shape for part, shape in shapes.items()}
