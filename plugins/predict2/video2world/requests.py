"""What a user gives to `cosmos predict2 video2world`, `batch` and `best-of-n`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from cosmos_cli.errors import InputError
from cosmos_cli.generation.settings import DEFAULT_NEGATIVE_PROMPT, Guidance, Prompt
from cosmos_cli.media.source import Source
from cosmos_cli.requests import Anywhere, Flag, StrictModel
from cosmos_plugins.predict2.settings import DitSettings, RefinerSettings
from cosmos_plugins.predict2.variants import GR00T_PREFIX, VARIANTS


class Video2WorldSettings(DitSettings, RefinerSettings):
    """What is loaded once and serves many videos."""

    offload_options: ClassVar = RefinerSettings.offload_options

    model_size: Annotated[Literal["2B", "14B", "tiny"], Flag(aliases=("--model",))] = "2B"
    """Model; tiny ships with cosmos and runs anywhere."""
    resolution: Annotated[Literal["480", "720"] | None, Flag(default="720; tiny has its own")] = None
    """Picture size, and with it the checkpoint."""
    fps: Literal[10, 16] = 16
    """Frame rate, and with it the checkpoint and the clip length: 93 frames at 16, 61 at 10."""
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
    gr00t_variant: Literal["gr1", "droid"] | None = None
    """Use the 14B checkpoint post-trained on this robot (GR00T-Dreams): 480 at 16 fps, prompts not refined."""
    prompt_prefix: Annotated[Prompt | None, Flag(default="none; with --gr00t-variant: about a robot arm")] = None
    """Text to put before every prompt."""
    refiner_url: str | None = None
    """Chat server that refines prompts in place of Cosmos-Reason1 on this machine; it speaks OpenAI's protocol."""
    refiner_model: Annotated[str | None, Flag(default="nvidia/Cosmos-Reason1-7B")] = None
    """Model to ask for at --refiner-url."""
    use_cuda_graphs: bool = False
    """Accepted for old command lines; has no effect."""

    @property
    def resolution_used(self) -> str:
        """The resolution asked for, or the model's own."""
        if self.resolution is None and self.gr00t_variant is not None:
            return "480"
        return self.resolution or VARIANTS[self.model_size].default_resolution

    @property
    def may_refine(self) -> bool:
        """Whether prompts are refined, if there is something to refine them with."""
        return not self.disable_prompt_refiner and self.gr00t_variant is None

    @property
    def prompt_prefix_used(self) -> str:
        """What stands before every prompt."""
        default = "" if self.gr00t_variant is None else GR00T_PREFIX
        return default if self.prompt_prefix is None else self.prompt_prefix


ShownPrompt = Annotated[Prompt, StringConstraints(strip_whitespace=True)]


class Video2WorldOptions(StrictModel):
    """What may be said about a video, or once for many; only what has an input and a prompt is a request."""

    input_path: Source | None = None
    """Picture or video to continue; required, unless rows of a batch name theirs."""
    prompt: ShownPrompt = ""
    """What shall happen; with none the video follows the input alone."""
    negative_prompt: Prompt = DEFAULT_NEGATIVE_PROMPT
    """What to avoid; an empty text guides away from no text at all."""
    num_conditional_frames: Literal[1, 5] = 1
    """Last frames of the input that begin the video; 1 also accepts a picture."""
    aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16"] = "16:9"
    """Shape of the video, width:height; the input is scaled to cover it and cropped at the centre."""
    num_frames: Annotated[
        int | None, Field(ge=1, le=509), Flag(default="93 at 16 fps, 61 at 10; 17 and 13 of tiny")
    ] = None
    """Length of the video in frames, or of each chunk of it."""
    num_chunks: int = Field(default=1, ge=1, le=1000)
    """Chunks of a longer video: each begins with the last frames of the one before."""
    guidance: Guidance = None
    """Classifier-free guidance; 0 is unguided and twice as fast."""
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
    benchmark: bool = False
    """Generate four times and report the mean time of the last three."""


class Video2WorldRequest(Video2WorldOptions):
    """One video."""

    input_path: Source
    """Picture or video to continue."""


class BatchInput(StrictModel):
    """Many videos instead of one."""

    batch: Annotated[Anywhere | None, Flag(old_names=("--batch-input-json",))] = None
    """Make a video of every row of this file, see `cosmos predict2 batch`; --save-path says where its ledger goes."""
    output_root: Annotated[Anywhere, Flag(default="the working folder")] = Path()
    """Folder below which the rows of a batch may write, and that their outputs are relative to."""


def one_video_or_a_batch(given: Mapping[str, Any]) -> None:
    """Raises InputError if neither an input is given nor a file of them."""
    if given.get("input_path") is None and given.get("batch") is None:
        raise InputError("is required.", where="--input-path", fix="Give --input-path.")


class BatchFile(StrictModel):
    """Many videos."""

    file: Annotated[Anywhere, Flag(argument=True)]
    """A JSON array or JSON Lines: input_video, prompt, output_video, and optionally other fields of a request."""
    output_root: Annotated[Anywhere, Flag(default="the working folder")] = Path()
    """Folder below which rows may write, and that their outputs are relative to."""


class BestOfNOptions(Video2WorldOptions):
    """Several videos of one request."""

    input_path: Path | None = None
    """Picture or video to continue; required, except with --skip-generation."""
    num_generations: Annotated[int, Flag(usual=True)] = Field(default=5, ge=1, le=1000)
    """Videos to make, with the seeds from --seed on."""
    skip_generation: bool = False
    """Only judge the videos that are in --save-path."""
    save_path: Path = Path("output/best-of-n")
    """Folder for the videos, which get their scores into their names, and for the reports."""
    overwrite: bool = False
    """Make all videos again, also those that an earlier run has finished."""
