"""What a user gives to `cosmos nemo run` and `cosmos nemo batch`, under the names of the originals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints, field_validator

from cosmos_cli.errors import InputError
from cosmos_cli.generation.requests import NetworkSettings, Pixels, RunOptions
from cosmos_cli.generation.settings import DEFAULT_NEGATIVE_PROMPT, REFINER, NonEmptyPrompt, Prompt, UpsamplerSettings
from cosmos_cli.generation.variants import Kind
from cosmos_cli.help import INPUT
from cosmos_cli.media.source import Source
from cosmos_cli.requests import Anywhere, Flag, StrictModel
from cosmos_cli.settings import AS_STARTED

SETTINGS_WITHOUT_EFFECT = ("guardrail_dir",)
OPTIONS_WITHOUT_EFFECT = ("sampler",)
"""Fields that old command lines give, and that change nothing."""

PUBLISHED_UPSAMPLER = "Cosmos-1.0-Prompt-Upsampler-12B-Text2World"
PUBLISHED_TOKENIZER = "Cosmos-1.0-Tokenizer-CV8x8x8"
_PREFIX = "Cosmos-1.0-Diffusion-"
_SUBJECT = "A video of sks {name}. "


class NemoSettings(UpsamplerSettings, NetworkSettings):
    """What is loaded once and serves many videos."""

    offload_options: ClassVar = {**NetworkSettings.offload_options, "offload_prompt_upsampler": REFINER}

    model_size: Annotated[
        Literal[
            "7B",
            "14B",
            "tiny",
            "Cosmos-1.0-Diffusion-7B-Text2World",
            "Cosmos-1.0-Diffusion-7B-Video2World",
            "Cosmos-1.0-Diffusion-14B-Text2World",
            "Cosmos-1.0-Diffusion-14B-Video2World",
        ],
        Flag(aliases=("--model",), default="7B, or what --nemo-checkpoint holds"),
    ] = "7B"
    """Model: a size, which is Video2World with an input and else Text2World, or a published name; tiny ships with
    cosmos and runs anywhere."""
    nemo_checkpoint: Annotated[Path | None, Flag(default="the published model", usual=True)] = None
    """Weights of your own: a folder of NeMo, a native model.pt or training's folder, or a folder of diffusers."""
    checkpoint_dir: Annotated[Path, Flag(env="COSMOS_CHECKPOINT_DIR", old_names=("--cosmos-assets-dir",))] = Path(
        "checkpoints"
    )
    """Folder of downloaded checkpoints in the original layout."""
    num_gpus: Annotated[int, Field(ge=1), replace(AS_STARTED, old_names=("--num-devices",))] = 1
    """Number of GPUs; the command starts one worker on each."""
    cp_size: Annotated[int | None, Field(ge=1)] = None
    """Number of GPUs again, which old command lines give."""
    tokenizer_dir: Annotated[str, StringConstraints(max_length=4096)] = PUBLISHED_TOKENIZER
    """Folder of the tokenizer, or its name under the checkpoint folder or under nvidia/ in it."""
    t5_cache_dir: Path | None = None
    """Folder of the text encoder, or of the Hub's cache that holds google-t5/t5-11b."""
    enable_prompt_upsampler: bool = False
    """Have a chat model write the prompt out."""
    prompt_upsampler_dir: str = PUBLISHED_UPSAMPLER
    """Chat model that does so, a folder under the checkpoint folder or the path of one; the published one is in a form
    that cosmos does not read."""
    guardrail_dir: str | None = None
    """Accepted for old command lines; has no effect: guardrails lie in the checkpoint folder."""

    @field_validator("nemo_checkpoint", "t5_cache_dir", mode="before")
    @classmethod
    def _none_if_empty(cls, value: Any) -> Any:
        """An empty text is the originals' default."""
        return None if value == "" else value

    @property
    def size(self) -> str:
        """7B, 14B or tiny."""
        return self.model_size.removeprefix(_PREFIX).partition("-")[0]

    @property
    def named_kind(self) -> Kind | None:
        """What the named model makes, if its name says so."""
        _, _, kind = self.model_size.removeprefix(_PREFIX).partition("-")
        kinds: Mapping[str, Kind] = {"Text2World": "text2world", "Video2World": "video2world"}
        return kinds.get(kind)


class VideoOptions(RunOptions):
    """What may be said about a video, or once for many; only what has a prompt is a request."""

    prompt: NonEmptyPrompt | None = None
    """What the video shows; required, unless rows of a batch have theirs."""
    negative_prompt: Prompt = DEFAULT_NEGATIVE_PROMPT
    """What to avoid; an empty text guides away from no text at all."""
    subject_name: Annotated[str, StringConstraints(max_length=200, strip_whitespace=True)] = ""
    """Subject that the model was post-trained on: puts "A video of sks NAME." in front of the prompt."""
    conditioned_image_or_video_path: Annotated[Source | None, Flag(panel=INPUT, usual=True)] = None
    """Picture or video to continue, by a Video2World model."""
    num_input_frames: Literal[1, 9] = 1
    """Last frames of the input that begin the video; 1 also accepts a picture."""
    num_video_frames: Annotated[int | None, Field(ge=1), Flag(default="121; 33 of tiny")] = None
    """Frames of the video: 121, which the models were trained on, or a multiple up to 968, or 1 for a picture; of tiny
    multiples of 33 up to 264."""
    height: Annotated[Pixels | None, Flag(default="704; 48 of tiny")] = None
    """Height of the video in pixels, a multiple of 16."""
    width: Annotated[Pixels | None, Flag(default="1280; 80 of tiny")] = None
    """Width of the video in pixels, a multiple of 16."""
    sampler: Literal["RES"] = "RES"
    """Accepted for old command lines; there is no other."""

    @property
    def kind(self) -> Kind:
        """The model that makes it."""
        return "text2world" if self.conditioned_image_or_video_path is None else "video2world"

    @property
    def source(self) -> Source | None:
        """What the video begins with."""
        return self.conditioned_image_or_video_path

    @property
    def num_given(self) -> int:
        """Frames that it begins with."""
        return 0 if self.source is None else self.num_input_frames

    @property
    def subject(self) -> str:
        """What goes in front of the prompt."""
        return _SUBJECT.format(name=self.subject_name) if self.subject_name else ""


class RunVideoOptions(VideoOptions):
    """The same of a single video."""

    video_save_path: Annotated[Anywhere | None, Flag(default="by folder and name")] = None
    """File of the video, in place of --video-save-folder and --video-save-name."""


class NemoRequest(RunVideoOptions):
    """One video."""

    prompt: NonEmptyPrompt
    """What the video shows."""


class BatchFile(StrictModel):
    """Many videos."""

    file: Annotated[Anywhere, Flag(argument=True)]
    """JSON Lines or a JSON array: prompt, visual_input, and optionally other fields."""


def has_prompt(given: Mapping[str, Any]) -> None:
    """Raises InputError: no prompt is given."""
    if given.get("prompt") is None:
        raise InputError("is required.", where="--prompt", fix="Give --prompt.")
