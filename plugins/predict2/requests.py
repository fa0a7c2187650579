"""What a user gives to Predict2 commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from cosmos_cli.errors import InputError, Problem
from cosmos_cli.requests import Flag, StrictModel, option_name
from cosmos_cli.settings import ParallelSettings

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
NonEmptyPrompt = Annotated[Prompt, StringConstraints(min_length=1, strip_whitespace=True)]


class Video2WorldSettings(ParallelSettings):
    """What is loaded once and serves many videos."""

    model_size: Annotated[Literal["2B", "14B", "tiny"], Flag(aliases=("--model",))] = "2B"
    """Model; tiny ships with cosmos and runs anywhere."""
    resolution: Annotated[Literal["480", "720"] | None, Flag(default="720; tiny has its own")] = None
    """Picture size, and with it the checkpoint."""
    fps: Literal[10, 16] = 16
    """Frame rate, and with it the checkpoint and the clip length: 93 frames at 16, 61 at 10."""
    dit_path: Path | None = None
    """Weights of a post-trained DiT in place of the published ones."""
    lora_path: Path | None = None
    """LoRA to merge into the DiT: a folder of peft, a file, or a training checkpoint."""
    lora_alpha: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False), Flag(default="from the adapter, else its rank")
    ] = None
    """Strength of the LoRA: what it learnt counts alpha / rank times."""
    load_ema: bool = False
    """Take the averaged (EMA) weights out of --lora-path if there is one, else out of --dit-path."""
    natten: bool = False
    """Use the sparse-attention checkpoint (720 only)."""
    offload_diffusion_transformer: bool = False
    """Keep the diffusion transformer in host memory and stream it block by block while it denoises."""
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
    refiner_url: str | None = None
    """Chat server that refines prompts in place of Cosmos-Reason1 on this machine; it speaks OpenAI's protocol."""
    refiner_model: Annotated[str | None, Flag(default="nvidia/Cosmos-Reason1-7B")] = None
    """Model to ask for at --refiner-url."""
    offload_prompt_refiner: bool = False
    """Keep the prompt refiner off the device except while it works."""
    use_cuda_graphs: bool = False
    """Accepted for old command lines; has no effect."""


class Video2WorldOptions(StrictModel):
    """What may be said about a video, or once for many; only what has an input and a prompt is a request."""

    input_path: Path | None = None
    """Picture or video to continue; required, unless rows of a batch name theirs."""
    prompt: NonEmptyPrompt | None = None
    """What shall happen; required, unless rows of a batch have theirs."""
    negative_prompt: Prompt = DEFAULT_NEGATIVE_PROMPT
    """What to avoid; an empty text guides away from no text at all."""
    num_conditional_frames: Literal[1, 5] = 1
    """Last frames of the input that begin the video; 1 also accepts a picture."""
    aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16"] = "16:9"
    """Shape of the video, width:height; the input is scaled to cover it and cropped at the centre."""
    num_frames: Annotated[int | None, Field(ge=1, le=509), Flag(default="93 at 16 fps, 61 at 10")] = None
    """Length of the video in frames, or of each chunk of it."""
    num_chunks: int = Field(default=1, ge=1, le=1000)
    """Chunks of a longer video: each begins with the last frames of the one before."""
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


class Video2WorldRequest(Video2WorldOptions):
    """One video."""

    input_path: Path
    """Picture or video to continue."""
    prompt: NonEmptyPrompt
    """What shall happen."""


class BatchInput(StrictModel):
    """Many videos instead of one."""

    batch: Annotated[Path | None, Flag(aliases=("--batch-input-json",))] = None
    """Make a video of every row of this file, see `cosmos predict2 batch`; --save-path says where its ledger goes."""


def one_video_or_a_batch(given: Mapping[str, Any]) -> None:
    """Raises InputError if neither an input and a prompt are given nor a file of them."""
    missing = [name for name in ("input_path", "prompt") if given.get(name) is None]
    if missing and given.get("batch") is None:
        raise InputError.from_problems(
            Problem("is required.", option_name(name), f"Give {option_name(name)}.") for name in missing
        )


class BatchFile(StrictModel):
    """Many videos."""

    file: Annotated[Path, Flag(argument=True)]
    """A JSON array or JSON Lines: input_video, prompt, output_video, and optionally other fields of a request."""


class BestOfNOptions(Video2WorldOptions):
    """Several videos of one request."""

    input_path: Path | None = None
    """Picture or video to continue; required, except with --skip-generation."""
    prompt: NonEmptyPrompt | None = None
    """What shall happen; required, except with --skip-generation."""
    num_generations: int = Field(default=5, ge=1)
    """Videos to make, with the seeds from --seed on."""
    skip_generation: bool = False
    """Only judge the videos that are in --save-path."""
    save_path: Path = Path("output/best-of-n")
    """Folder for the videos, which get their scores into their names, and for the reports."""
    overwrite: bool = False
    """Make all videos again, also those that an earlier run has finished."""


class Judging(StrictModel):
    """How videos are judged."""

    num_critic_trials: int = Field(default=3, ge=1)
    """How often the critic is asked about each video."""
    critic: Annotated[str | None, Flag(default="reason1")] = None
    """Who judges, see `cosmos plugins list`; what the tiny model makes in best-of-n is judged by measured."""
    again: bool = False
    """Ask the critic again about videos that it has judged before."""


class CriticRequest(StrictModel):
    """Videos to judge."""

    video_or_folder: Annotated[tuple[Path, ...], Flag(argument=True)]
    """Videos, and folders of videos."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the critic; the same seed gives the same answers."""
    report: Annotated[Path | None, Flag(default="the folder of the first video")] = None
    """Folder for the report of all videos, report.html."""


class CriticSettings(StrictModel):
    """Where the critic is and where it computes."""

    checkpoint_dir: Annotated[Path, Flag(env="COSMOS_CHECKPOINT_DIR")] = Path("checkpoints")
    """Folder of downloaded checkpoints in the original layout."""
    device: Annotated[str, Flag(env="COSMOS_DEVICE")] = "auto"
    """Where to compute: auto, cpu, cuda or cuda:1."""
