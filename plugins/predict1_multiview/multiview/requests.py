"""What a user gives to `cosmos predict1-multiview`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from cosmos_cli.errors import InputError, Problem
from cosmos_cli.generation.cameras import SENTENCES
from cosmos_cli.generation.requests import Pixels, RunOptions, RunSettings
from cosmos_cli.generation.settings import NonEmptyPrompt, Prompt
from cosmos_cli.generation.variants import Kind
from cosmos_cli.media.source import Source
from cosmos_cli.requests import Anywhere, Flag, StrictModel, option_name

NOTHING_SAID = -1.0
"""Stands for no number of repeated frames."""

SETTINGS_WITHOUT_EFFECT = ("disable_prompt_upsampler", "offload_prompt_upsampler")
OPTIONS_WITHOUT_EFFECT = ("negative_prompt",)
"""Fields that old command lines give, and that change nothing."""


def _frames_or_nothing(number: float) -> float:
    if number < 0 and number != NOTHING_SAID:
        raise ValueError(f"must be 0 or more, or -1 to say nothing of it, but is {number:g}.")
    return number


class MultiviewSettings(RunSettings):
    """What is loaded once and serves many scenes."""

    model_size: Annotated[Literal["7B", "tiny"], Flag(aliases=("--model",))] = "7B"
    """Model; tiny ships with cosmos and runs anywhere."""
    diffusion_transformer_dir: Annotated[
        str | None, Flag(default="the published Video2World with an input, else Text2World")
    ] = None
    """Folder of the network under the checkpoint folder, or the path of one, of a file, or of a training's folder."""
    n_views: Annotated[int | None, Field(ge=1, le=6), Flag(default="6, or as many as the network knows")] = None
    """Cameras: 5 are those without the rear one, fewer the first of front, left, right, rear."""
    disable_prompt_upsampler: bool = False
    """Accepted for old command lines; has no effect."""
    offload_prompt_upsampler: bool = False
    """Accepted for old command lines; has no effect."""


class SceneOptions(StrictModel):
    """What a scene shows."""

    input_image_or_video_path: Source | None = None
    """Video of all cameras, one after the other, whose last frames begin theirs; without one prompts make all."""
    num_input_frames: Literal[1, 9] = 1
    """Last frames of each camera's part of the input that begin its video."""
    prompt: NonEmptyPrompt | None = None
    """What the front camera sees; required, unless rows of a batch have theirs."""
    prompt_left: Prompt = SENTENCES["left"]
    """What the left camera sees."""
    prompt_right: Prompt = SENTENCES["right"]
    """What the right camera sees."""
    prompt_back: Prompt = SENTENCES["rear"]
    """What the rear camera sees."""
    prompt_back_left: Prompt = SENTENCES["rear left"]
    """What the rear left camera sees."""
    prompt_back_right: Prompt = SENTENCES["rear right"]
    """What the rear right camera sees."""
    negative_prompt: Prompt | None = None
    """Accepted for old command lines; has no effect: these models guide away from no text at all."""
    num_video_frames: Annotated[int | None, Flag(default="57; 17 of tiny")] = None
    """Frames of every camera, which are as many as the model makes."""
    height: Annotated[Pixels | None, Flag(default="480; 48 of tiny")] = None
    """Height of every camera's video in pixels, a multiple of 16."""
    width: Annotated[Pixels | None, Flag(default="848; 80 of tiny")] = None
    """Width of every camera's video in pixels, a multiple of 16."""
    frame_repeat_negative_condition: Annotated[float, AfterValidator(_frames_or_nothing)] = 10.0
    """Repeated frames that the network is told of the rear left and right videos; -1 says nothing of them."""
    frame_repeat_contrast: bool = False
    """Tell of repeated frames only on the side that guidance leads away from, to get smoother videos; the original
    tells both sides."""
    like_original: bool = False
    """Repeat what the original gets wrong: given frames come out with too much contrast, and of nine only the first
    counts."""


class MultiviewOptions(RunOptions, SceneOptions):
    """What may be said about a scene, or once for many; only what has a prompt is a request."""

    @property
    def kind(self) -> Kind:
        """The model that makes it."""
        return "text2world" if self.input_image_or_video_path is None else "video2world"


class MultiviewRequest(MultiviewOptions):
    """One scene, filmed by all cameras."""

    prompt: NonEmptyPrompt
    """What the front camera sees."""


def one_scene_or_a_batch(given: Mapping[str, Any]) -> None:
    """Raises InputError if neither a prompt is given nor a file of them."""
    if given.get("prompt") is None and given.get("batch_input_path") is None:
        raise InputError.from_problems([Problem("is required.", option_name("prompt"), "Give --prompt.")])


class BatchFile(StrictModel):
    """Many scenes."""

    file: Annotated[Anywhere, Flag(argument=True)]
    """JSON Lines or a JSON array: prompt, prompt_left and so on, visual_input, and optionally other fields."""
