"""The Predict1 models: their networks and sizes, without building anything."""

from __future__ import annotations

from collections.abc import Mapping

from cosmos_cli.generation.variants import TINY_HELPERS, TINY_TEXT_WIDTH, Variant, single_view_variants
from cosmos_cli.models.configs import MultiViewConfig

MULTIVIEW: Mapping[str, Variant[MultiViewConfig]] = {
    "7B": Variant(
        MultiViewConfig(model_channels=4096, num_blocks=28, num_heads=32, rope_t_extrapolation_ratio=2.0),
        "Cosmos-Predict1-7B-{kind}-Sample-AV-Multiview",
        height=480,
        width=848,
        chunk_frames=57,
    ),
    "tiny": Variant(
        MultiViewConfig(
            model_channels=128,
            num_blocks=4,
            num_heads=4,
            crossattn_emb_channels=TINY_TEXT_WIDTH,
            adaln_lora_dim=16,
            rope_t_extrapolation_ratio=2.0,
        ),
        "Cosmos-Predict1-Tiny-{kind}-Sample-AV-Multiview",
        height=48,
        width=80,
        helpers=TINY_HELPERS,
        chunk_frames=17,
    ),
}
"""Models for several cameras, by their size."""

SINGLE_VIEW = single_view_variants("Cosmos-Predict1-{size}-{kind}")
"""Models for one camera, by their size."""
