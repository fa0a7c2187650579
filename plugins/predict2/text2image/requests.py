"""What a user gives to `cosmos predict2 text2image`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cosmos_cli.generation.settings import NonEmptyPrompt, Prompt
from cosmos_cli.requests import Anywhere, Flag, StrictModel
from cosmos_plugins.predict2.settings import DitSettings, TextSettings


class Text2ImageSettings(DitSettings, TextSettings):
    """What is loaded once and serves many pictures."""

    model_size: Annotated[Literal["0.6B", "2B", "14B", "tiny"], Flag(aliases=("--model",))] = "2B"
    """Model; tiny ships with cosmos and runs anywhere."""
    distill_steps: int = Field(default=0, ge=0, le=4)
    """Use the distilled checkpoint with so many steps, 1 to 4, without guidance; 0 is the ordinary one."""
    use_fast_tokenizer: bool = False
    """Not supported: the fast tokenizer's file is a program, and cosmos runs none that comes with weights."""
    use_cuda_graphs: bool = False
    """Accepted for old command lines; has no effect."""


class Text2ImageRequest(StrictModel):
    """One picture."""

    prompt: NonEmptyPrompt
    """What it shall show."""
    negative_prompt: Prompt = ""
    """What to avoid; an empty text guides away from no text at all."""
    aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16"] = "16:9"
    """Shape of the picture, width:height; 16:9 is 1360 x 768 pixels."""
    guidance: float = Field(default=4.0, ge=0, allow_inf_nan=False)
    """Classifier-free guidance; 0 is unguided and twice as fast."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the noise; the same seed gives the same picture."""
    num_steps: int = Field(default=35, ge=1, le=1000)
    """Denoising steps of the ordinary checkpoint."""
    save_path: Anywhere = Path("output/generated_image.jpg")
    """Picture to write, a JPEG or, without loss, a PNG; a sidecar of the same name ending in .json goes beside it."""
    overwrite: bool = False
    """Replace an existing picture."""
