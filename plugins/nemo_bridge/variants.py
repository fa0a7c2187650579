"""The Cosmos-1.0 diffusion models: their networks and sizes, without building anything."""

from __future__ import annotations

from collections.abc import Mapping

from cosmos_cli.generation.variants import Variant, single_view_variants
from cosmos_cli.models.configs import GeneralDiTConfig

VARIANTS: Mapping[str, Variant[GeneralDiTConfig]] = single_view_variants("Cosmos-1.0-Diffusion-{size}-{kind}")
"""Models by their size; the tiny ones ship with cosmos."""
