"""What a user gives to `cosmos predict2 multiview`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cosmos_cli.generation.settings import DEFAULT_NEGATIVE_PROMPT, NonEmptyPrompt, Prompt
from cosmos_cli.media.source import Source
from cosmos_cli.requests import Anywhere, Flag, StrictModel
from cosmos_plugins.predict2.settings import DitSettings, TextSettings
from cosmos_plugins.predict2.variants import MAX_VIEWS


class MultiviewSettings(DitSettings, TextSettings):
    """What is loaded once and serves many scenes."""

    model_size: Annotated[Literal["2B", "tiny"], Flag(aliases=("--model",))] = "2B"
    """Model; tiny ships with cosmos and runs anywhere."""
    resolution: Literal["720"] = "720"
    """Accepted for old command lines; there is one checkpoint."""
    fps: Literal[10] = 10
    """Accepted for old command lines; there is one checkpoint, of 29 frames of every view."""
    disable_prompt_refiner: bool = False
    """Accepted for old command lines; the prompt is used as it is given."""
    use_cuda_graphs: bool = False
    """Accepted for old command lines; has no effect."""


class MultiviewRequest(StrictModel):
    """One scene, seen by several cameras."""

    input_path: Source | None = None
    """What the cameras saw so far: one video with the equally long views one after the other, or a folder with one
    video per view, taken in the order of their names. Not needed with --num-conditional-frames 0."""
    prompt: NonEmptyPrompt
    """What the first camera shall see, or a text file (.txt) with that in its first line. The others get no prompt."""
    negative_prompt: Prompt = DEFAULT_NEGATIVE_PROMPT
    """What the first camera shall not see; an empty text guides away from no text at all."""
    num_conditional_frames: Literal[0, 1, 5] = 1
    """Last frames of every view of the input that begin the views."""
    n_views: int = Field(default=MAX_VIEWS, ge=1, le=MAX_VIEWS)
    """Number of cameras."""
    guidance: float = Field(default=7.0, ge=0, allow_inf_nan=False)
    """Classifier-free guidance; 0 is unguided and twice as fast."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the noise; the same seed gives the same video."""
    num_steps: int = Field(default=35, ge=1, le=1000)
    """Denoising steps."""
    save_path: Anywhere = Path("output/generated_video.mp4")
    """Video to write, an mp4 with the views one below the other; a sidecar ending in .json goes beside it."""
    overwrite: bool = False
    """Replace an existing video."""
    preview: bool = False
    """Also write a contact sheet, of the same name ending in .png."""
