"""What the Predict2 models are loaded with: the settings that they share, under the originals' names."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from cosmos_cli.generation.settings import DIT, GUARDRAILS, REFINER, TEXT, GenerationSettings, TextEncoderSettings
from cosmos_plugins.predict2.variants import SHORTCUTS


class RunSettings(GenerationSettings):
    """What is loaded once and serves many requests."""

    gpu_shortcuts: ClassVar = SHORTCUTS
    offload_options: ClassVar = {"offload_diffusion_transformer": DIT, "offload_guardrail": GUARDRAILS}

    offload_diffusion_transformer: bool = False
    """Keep the diffusion transformer in host memory and stream it block by block while it denoises."""
    disable_guardrail: bool = False
    """Do not check what goes in and what comes out."""
    offload_guardrail: bool = False
    """Keep guardrails off the device except while they work."""

    @property
    def is_guarded(self) -> bool:
        return not self.disable_guardrail


class TextSettings(RunSettings, TextEncoderSettings):
    """What a model that reads a prompt is loaded with."""

    offload_options: ClassVar = {**RunSettings.offload_options, "offload_text_encoder": TEXT}

    downcast_text_encoder: bool = False
    """Compute with the text encoder in bfloat16, whatever its weights are stored in: half its memory."""
    offload_text_encoder: bool = False
    """Keep the text encoder off the device except while it works."""

    @property
    def text_precision(self) -> str:
        return "bfloat16" if self.downcast_text_encoder else "float32"


class RefinerSettings(TextSettings):
    """What a model whose prompts may be refined is loaded with."""

    offload_options: ClassVar = {**TextSettings.offload_options, "offload_prompt_refiner": REFINER}

    disable_prompt_refiner: bool = False
    """Use the prompt as it is given."""
    offload_prompt_refiner: bool = False
    """Keep the prompt refiner off the device except while it works."""


class DitSettings(RunSettings):
    """What a model of one DiT is loaded with."""

    dit_path: Path | None = None
    """Weights of a post-trained DiT in place of the published ones."""
    load_ema: bool = False
    """Take the averaged (EMA) weights out of --dit-path."""
