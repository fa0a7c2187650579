"""What the networks of all kinds have in common: a DiT of the kind's own, and the Wan tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.generation.load import BuildNetworks, Built, Where
from cosmos_cli.models.configs import WanVAEConfig
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.wan_vae import WanVAE

M = TypeVar("M", bound=MinimalDiT)


def dit_and_tokenizer(
    weights: Mapping[str, Path],
    vae: WanVAEConfig,
    build_dit: Callable[[str], M],
    *,
    ema: bool = False,
    finish: Callable[[M], None] = lambda dit: None,
) -> BuildNetworks[M, WanVAE]:
    """What builds the DiT and the tokenizer of a model.

    Args:
        weights: as `checkpoints.weights_of` names them.
        build_dit: the DiT without weights, with this attention backend.
        ema: take the averaged weights.
        finish: changes the DiT's weights before they are placed, as a LoRA does.
    """

    def build(where: Where) -> Built[M, WanVAE]:
        dit = load_network(
            lambda: build_dit(where.attention),
            weights["dit"],
            naming=PUBLISHED.averaged() if ema else PUBLISHED,
            dtype=where.dtype,
            device=where.dit,
        )
        finish(dit)
        tokenizer = load_network(lambda: WanVAE(vae), weights["tokenizer"], dtype=where.dtype, device=where.tokenizer)
        return Built(dit, tokenizer)

    return build
