"""What a user gives to `cosmos predict2 text2world`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cosmos_cli.generation.settings import DEFAULT_NEGATIVE_PROMPT, Guidance, NonEmptyPrompt, Prompt
from cosmos_cli.requests import Anywhere, Flag, StrictModel
from cosmos_plugins.predict2.settings import RefinerSettings


class Text2WorldSettings(RefinerSettings):
    """The two models, one after the other on the device."""

    model_size: Annotated[Literal["2B", "14B", "tiny"], Flag(aliases=("--model",))] = "2B"
    """Size of both models; tiny ships with cosmos and runs anywhere."""
    resolution: Annotated[Literal["480", "720"] | None, Flag(default="720; tiny has its own")] = None
    """Size of the video, and with it the checkpoint."""
    fps: Literal[10, 16] = 16
    """Frame rate, and with it the checkpoint and the clip length: 93 frames at 16, 61 at 10."""
    dit_path_text2image: Path | None = None
    """Weights of a post-trained DiT for the first frame."""
    dit_path_video2world: Path | None = None
    """Weights of a post-trained DiT for the video."""
    load_ema: bool = False
    """Take the averaged (EMA) weights out of the post-trained DiTs."""
    distill_steps: int = Field(default=0, ge=0, le=4)
    """Make the first frame with the distilled checkpoint and so many steps, 1 to 4; 0 is the ordinary one."""
    natten: bool = False
    """Use the sparse-attention checkpoint for the video (720 only)."""
    use_cuda_graphs: bool = False
    """Accepted for old command lines; has no effect."""


class Text2WorldRequest(StrictModel):
    """One video."""

    prompt: NonEmptyPrompt
    """What shall be seen and happen."""
    negative_prompt: Prompt = DEFAULT_NEGATIVE_PROMPT
    """What to avoid in the first frame and in the video; an empty text guides away from no text at all."""
    aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16"] = "16:9"
    """Shape of the video, width:height."""
    num_frames: Annotated[
        int | None, Field(ge=1, le=509), Flag(default="93 at 16 fps, 61 at 10; 17 and 13 of tiny")
    ] = None
    """Length of the video in frames."""
    guidance: Guidance = None
    """Classifier-free guidance of the video; that of the first frame is 4."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the noise of both models; the same seed gives the same video."""
    num_steps: int = Field(default=35, ge=1, le=1000)
    """Denoising steps of both models."""
    save_path: Anywhere = Path("output/generated_video.mp4")
    """Video to write, an mp4; beside it go a sidecar ending in .json and the first frame, _first_frame.png."""
    overwrite: bool = False
    """Replace an existing video."""
    preview: bool = False
    """Also write a contact sheet, of the same name ending in .png."""
