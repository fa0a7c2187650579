"""What a user gives to `cosmos transfer multiview`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from cosmos_cli.files.names import PlainName
from cosmos_cli.generation.cameras import SENTENCES
from cosmos_cli.generation.settings import DIT, GUARDRAILS, TEXT, TextEncoderSettings
from cosmos_cli.help import INPUT
from cosmos_cli.media.source import Source
from cosmos_cli.requests import Anywhere, Flag, StrictModel
from cosmos_plugins.transfer1.multiview.variants import Kind
from cosmos_plugins.transfer1.requests import DEFAULT_PROMPT, MIN_SAFE_SHARE, SAFE_CLASSES, Prompt


class MultiviewControl(StrictModel):
    """How one modality controls the videos: the object under its name in a control specification."""

    control_weight: float = Field(default=0.5, ge=0, le=1, allow_inf_nan=False)
    """Strength in [0, 1]."""
    input_control: tuple[Source, ...]
    """Control videos, one per camera: front, left, right, rear, rear left, rear right."""
    ckpt_path: Path | None = None
    """Weights of the control branch in place of the published ones."""

    @field_validator("input_control", mode="before")
    @classmethod
    def _one_per_camera(cls, value: object) -> object:
        if not isinstance(value, list | tuple) or any(isinstance(path, int | float | dict) for path in value):
            raise ValueError(f"must be a list with the path of one video per camera, but is {value!r}.")
        return value


class MultiviewSettings(TextEncoderSettings):
    """What is loaded once and serves many scenes."""

    offload_options: ClassVar = {
        "offload_text_encoder_model": TEXT,
        "offload_guardrail_models": GUARDRAILS,
        "offload_diffusion_transformer": DIT,
    }
    min_safe_share: ClassVar = MIN_SAFE_SHARE
    safe_classes: ClassVar = SAFE_CLASSES

    model_size: Annotated[Literal["7B", "tiny"], Flag(aliases=("--model",))] = "7B"
    """Model; tiny ships with cosmos and runs anywhere."""
    waymo_example: bool = False
    """Use five cameras, none of which faces backwards, with a control branch trained on Waymo's recordings."""
    tokenizer_dir: str = "Cosmos-Tokenize1-CV8x8x8-720p"
    """Folder of the tokenizer, under nvidia/ in the checkpoint folder."""
    offload_diffusion_transformer: bool = False
    """Keep the base model and the control branches in host memory and stream them block by block while they denoise."""
    offload_text_encoder_model: bool = False
    """Keep the text encoder off the device except while it works."""
    offload_guardrail_models: bool = False
    """Keep guardrails off the device except while they work."""


class MultiviewRequest(StrictModel):
    """One scene, filmed by all cameras."""

    controls: Annotated[dict[str, MultiviewControl], Flag(aliases=("--controlnet-specs",), option=False)]
    """Modality, hdmap or lidar, to how it controls the videos."""
    view_condition_video: Annotated[Source, Flag(panel=INPUT)]
    """Video of the front camera, which the other views are made to fit."""
    initial_condition_video: Annotated[Source | None, Flag(panel=INPUT)] = None
    """First frames of every view: one video with the views one after the other, such as an earlier result, or a folder
    of 000.mp4, 001.mp4 and so on. Makes clip after clip."""
    prompt: Prompt = DEFAULT_PROMPT
    """What the front camera sees; a prompt that does not begin with its camera's sentence gets it."""
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
    num_input_frames: Literal[1, 9] = 1
    """Frames of each view that a clip of 57 shares with the one before it; only with --initial-condition-video."""
    n_clip_max: int = -1
    """Most clips to make; 0 or less makes as many as the videos hold."""
    guidance: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    """Classifier-free guidance; 0 is unguided and twice as fast."""
    num_steps: int = Field(default=35, ge=1, le=1000)
    """Denoising steps."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Seed of the noise; the same seed gives the same videos."""
    fps: int = Field(default=24, ge=1, le=120)
    """Frame rate of the output, which the model is told too."""
    video_save_folder: Anywhere = Path("outputs")
    """Folder of the output."""
    video_save_name: PlainName = "output"
    """Name of the output without .mp4; the mosaic and the sidecar go beside it."""
    overwrite: bool = False
    """Replace existing files."""
    preview: bool = False
    """Also write a contact sheet of the front video, the controls and the output of every camera."""

    @property
    def kind(self) -> Kind:
        """The model that makes it."""
        return "t2w" if self.initial_condition_video is None else "v2w"

    @property
    def active_controls(self) -> dict[str, MultiviewControl]:
        """The controls that take part: those of weight 0 are neither loaded nor read."""
        return {name: control for name, control in self.controls.items() if control.control_weight != 0}
