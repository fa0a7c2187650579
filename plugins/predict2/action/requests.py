"""What a user gives to `cosmos predict2 action`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cosmos_cli.media.source import Source
from cosmos_cli.requests import Anywhere, Flag, StrictModel
from cosmos_plugins.predict2.settings import DitSettings


class ActionSettings(DitSettings):
    """What is loaded once and serves many videos."""

    model_size: Annotated[Literal["2B", "tiny"], Flag(aliases=("--model",))] = "2B"
    """Model; tiny ships with cosmos and runs anywhere."""
    disable_prompt_refiner: bool = False
    """Accepted for old command lines; there is no prompt."""


class ActionRequest(StrictModel):
    """One video."""

    input_video: Annotated[Source, Flag(aliases=("--input-path",))]
    """Video whose first frame begins the new one, or a picture."""
    input_annotation: Annotated[Anywhere, Flag(aliases=("--actions",))]
    """What the robot does: a JSON file with "action" and "continuous_gripper_state", or, as JSON or .npy, rows of 7
    numbers that are scaled as the model reads them."""
    autoregressive: bool = False
    """Go on from chunk to chunk as long as there are 12 more actions, each from the last frame of the one before."""
    num_conditional_frames: Literal[1] = 1
    """Accepted for old command lines; the video begins with one frame."""
    guidance: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Accepted for old command lines; without a text there is nothing to guide away from."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the noise; the same seed gives the same video."""
    num_steps: int = Field(default=35, ge=1, le=1000)
    """Denoising steps."""
    save_path: Anywhere = Path("output/generated_video.mp4")
    """Video to write, an mp4; a sidecar of the same name ending in .json goes beside it."""
    overwrite: bool = False
    """Replace an existing video."""
    preview: bool = False
    """Also write a contact sheet, of the same name ending in .png."""
