"""What a user gives to Predict2 commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from cosmos_cli.requests import Flag, StrictModel

DEFAULT_NEGATIVE_PROMPT = (
    "The video captures a series of frames showing ugly scenes, static with no motion, motion blur, over-saturation, "
    "shaky footage, low resolution, grainy texture, pixelated images, poorly lit areas, underexposed and overexposed "
    "scenes, poor color balance, washed out colors, choppy sequences, jerky movements, low frame rate, artifacting, "
    "color banding, unnatural transitions, outdated special effects, fake elements, unconvincing visuals, poorly "
    "edited content, jump cuts, visual noise, and flickering. Overall, the video is of poor quality."
)

MAX_PROMPT_CHARACTERS = 5000
"""The text encoder reads 512 tokens, some 2,500 characters; twice that is surely not what its author meant."""

Prompt = Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARACTERS)]


class Video2WorldSettings(StrictModel):
    """What is loaded once and serves many videos."""

    model_size: Annotated[Literal["2B", "14B", "tiny"], Flag(aliases=("--model",))] = "2B"
    """Model; tiny ships with cosmos and runs anywhere."""
    resolution: Annotated[Literal["480", "720"] | None, Flag(default="720; tiny has its own")] = None
    """Picture size, and with it the checkpoint."""
    fps: Literal[10, 16] = 16
    """Frame rate, and with it the checkpoint and the clip length: 93 frames at 16, 61 at 10."""
    checkpoint_dir: Annotated[Path, Flag(env="COSMOS_CHECKPOINT_DIR")] = Path("checkpoints")
    """Folder of downloaded checkpoints in the original layout."""
    dit_path: Path | None = None
    """Weights of a post-trained DiT in place of the published ones."""
    load_ema: bool = False
    """Take the averaged (EMA) weights out of --dit-path."""
    natten: bool = False
    """Use the sparse-attention checkpoint (720 only)."""
    device: Annotated[str, Flag(env="COSMOS_DEVICE")] = "auto"
    """Where to compute: auto, cpu, cuda or cuda:1."""
    precision: Annotated[
        Literal["auto", "bfloat16", "float32"], Flag(default="auto: bfloat16, and float32 on a CPU")
    ] = "auto"
    """Precision of the DiT and the tokenizer."""
    attention: str = "sdpa"
    """Attention backend: sdpa, flash-attention or transformer-engine."""
    num_gpus: int = Field(default=1, ge=1)
    """Number of GPUs; this version uses one."""
    downcast_text_encoder: bool = False
    """Run the text encoder in bfloat16: half its memory."""
    offload_text_encoder: bool = False
    """Keep the text encoder off the device except while it works."""
    disable_guardrail: bool = False
    """Do not check the prompt and the video."""
    offload_guardrail: bool = False
    """Keep guardrails off the device except while they work."""
    disable_prompt_refiner: bool = False
    """Use the prompt as it is given."""
    offload_prompt_refiner: bool = False
    """Keep the prompt refiner off the device except while it works."""
    use_cuda_graphs: bool = False
    """Accepted for old command lines; has no effect."""
    cache_dir: Annotated[Path | None, Flag(env="COSMOS_CACHE_DIR", default="~/.cache/cosmos-cli")] = None
    """Folder for text embeddings, which are computed once per prompt."""


class Video2WorldRequest(StrictModel):
    """One video."""

    input_path: Path
    """Picture or video to continue."""
    prompt: Annotated[Prompt, StringConstraints(min_length=1, strip_whitespace=True)]
    """What shall happen."""
    negative_prompt: Prompt = DEFAULT_NEGATIVE_PROMPT
    """What to avoid; an empty text guides away from no text at all."""
    num_conditional_frames: Literal[1, 5] = 1
    """Last frames of the input that begin the video; 1 also accepts a picture."""
    aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16"] = "16:9"
    """Shape of the video, width:height; the input is scaled to cover it and cropped at the centre."""
    num_frames: Annotated[int | None, Field(ge=1, le=509), Flag(default="93 at 16 fps, 61 at 10")] = None
    """Length of the video in frames."""
    guidance: float = Field(default=7.0, ge=0, allow_inf_nan=False)
    """Classifier-free guidance; 0 is unguided and twice as fast."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the noise; the same seed gives the same video."""
    num_steps: int = Field(default=35, ge=1, le=1000)
    """Denoising steps."""
    save_path: Path = Path("output/generated_video.mp4")
    """Video to write, an mp4; a sidecar of the same name ending in .json goes beside it."""
    overwrite: bool = False
    """Replace an existing video."""
    preview: bool = False
    """Also write a contact sheet, of the same name ending in .png."""
    benchmark: bool = False
    """Generate four times and report the mean time of the last three."""
