"""What a user gives to the commands of `cosmos predict1`, whether they make a video or continue one."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from cosmos_cli.generation.requests import Pixels, RunOptions, RunSettings
from cosmos_cli.generation.settings import DEFAULT_NEGATIVE_PROMPT, REFINER, NonEmptyPrompt, Prompt, UpsamplerSettings
from cosmos_cli.generation.variants import Kind
from cosmos_cli.media.source import Source
from cosmos_cli.requests import Flag


class SingleViewSettings(UpsamplerSettings, RunSettings):
    """What is loaded once and serves many videos."""

    kind: ClassVar[Kind]
    """Of the model."""
    published_upsampler: ClassVar[str]
    """Default of `prompt_upsampler_dir`."""
    offload_options: ClassVar = {**RunSettings.offload_options, "offload_prompt_upsampler": REFINER}

    model_size: Annotated[
        Literal["7B", "14B", "tiny"],
        Flag(aliases=("--model",), default="7B, or what --diffusion-transformer-dir holds"),
    ] = "7B"
    """Model; tiny ships with cosmos and runs anywhere."""
    disable_prompt_upsampler: bool = False
    """Use the prompt as it is given."""
    prompt_upsampler_dir: str

    @property
    def may_upsample(self) -> bool:
        """Whether prompts are written out, if there is something to write them out with."""
        return not self.disable_prompt_upsampler


class SingleViewOptions(RunOptions):
    """What may be said about a video, or once for many."""

    prompt: NonEmptyPrompt | None = None
    """What the video shows."""
    negative_prompt: Prompt = DEFAULT_NEGATIVE_PROMPT
    """What to avoid; an empty text guides away from no text at all."""
    num_video_frames: Annotated[int | None, Flag(default="121; 33 of tiny")] = None
    """Frames of the video, which are as many as the model makes."""
    height: Annotated[Pixels | None, Flag(default="704; 48 of tiny")] = None
    """Height of the video in pixels, a multiple of 16."""
    width: Annotated[Pixels | None, Flag(default="1280; 80 of tiny")] = None
    """Width of the video in pixels, a multiple of 16."""

    @property
    def source(self) -> Source | None:
        """What the video begins with."""
        return None

    @property
    def num_given(self) -> int:
        """Frames that it begins with."""
        return 0

    @property
    def is_long(self) -> bool:
        """Whether the prompt needs no upsampler."""
        return False

    @property
    def repeats_slips(self) -> bool:
        """Whether given frames come out as in the original."""
        return False
