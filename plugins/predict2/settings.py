"""What the models beside Video2World are loaded with: the settings that they share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cosmos_cli.requests import Flag
from cosmos_cli.settings import ParallelSettings


class RunSettings(ParallelSettings):
    """What is loaded once and serves many requests."""

    model_size: Annotated[str, Flag(aliases=("--model",))]
    """Model; tiny ships with cosmos and runs anywhere."""
    offload_diffusion_transformer: bool = False
    """Keep the diffusion transformer in host memory and stream it block by block while it denoises."""
    disable_guardrail: bool = False
    """Do not check what goes in and what comes out."""
    offload_guardrail: bool = False
    """Keep guardrails off the device except while they work."""


class TextSettings(RunSettings):
    """What a model that reads a prompt is loaded with."""

    downcast_text_encoder: bool = False
    """Run the text encoder in bfloat16: half its memory."""
    offload_text_encoder: bool = False
    """Keep the text encoder off the device except while it works."""


class DitSettings(RunSettings):
    """What a model of one DiT is loaded with."""

    dit_path: Path | None = None
    """Weights of a post-trained DiT in place of the published ones."""
    load_ema: bool = False
    """Take the averaged (EMA) weights out of --dit-path."""
