"""What a user gives to Transfer commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, field_validator

from cosmos_cli import registry
from cosmos_cli.checkpoints.catalogue import is_published_tokenizer
from cosmos_cli.files.names import PlainName
from cosmos_cli.generation.settings import DIT, GUARDRAILS, REFINER, TEXT, Guidance, NonEmptyPrompt, UpsamplerSettings
from cosmos_cli.generation.settings import Prompt as AnyPrompt
from cosmos_cli.media.source import Source
from cosmos_cli.requests import Anywhere, Flag, StrictModel
from cosmos_plugins.transfer1.regional_prompts import RegionalPrompt

DEFAULT_PROMPT = (
    "The video captures a stunning, photorealistic scene with remarkable attention to detail, giving it a lifelike "
    "appearance that is almost indistinguishable from reality. It appears to be from a high-budget 4K movie, "
    "showcasing ultra-high-definition quality with impeccable resolution."
)
DEFAULT_NEGATIVE_PROMPT = (
    "The video captures a game playing, with bad crappy graphics and cartoonish frames. It represents a recording of "
    "old outdated games. The lighting looks very fake. The textures are very raw and basic. The geometries are very "
    "primitive. The images are very pixelated and of poor CG quality. There are many subtitles in the footage. "
    "Overall, the video is unrealistic at all."
)

Strength = Literal["very_low", "low", "medium", "high", "very_high"]
Prompt = Annotated[AnyPrompt, StringConstraints(strip_whitespace=True)]

MIN_SAFE_SHARE = 0.95
"""Of the frames of a video that may be written."""

SAFE_CLASSES = ("safe", "violence")
"""What the content filter may call a safe frame. The original knows no name for the second, and counts it as safe."""

PURE_NOISE_SIGMA = 80.0
"""From this noise level on, the input video plays no part."""


class ControlSpec(StrictModel):
    """How one modality controls the video: the object under its name in a control specification."""

    control_weight: float | Anywhere = 0.5
    """Strength in [0, 1], or the file of a weight map: (H, W) or (frames, H, W) as .pt, .safetensors or .npy, or a grey
    picture or video."""
    input_control: Source | None = None
    """Control video; without one it is computed from the input video."""
    ckpt_path: Path | None = None
    """Weights of the control branch in place of the published ones."""
    control_weight_prompt: NonEmptyPrompt | None = None
    """Objects to which the control is confined, found in the input video; separated by " . "."""
    input_control_prompt: NonEmptyPrompt | None = None
    """Objects to segment, seg only; the prompt of the video by default."""

    @field_validator("control_weight", mode="before")
    @classmethod
    def _number_or_path(cls, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float | str | Path):
            raise ValueError(f"must be a number or the file of a weight map, but is {value!r}.")
        try:
            weight = float(str(value))  # the published specifications also write numbers as text
        except ValueError:
            return value
        if not 0 <= weight <= 1:  # also false for nan
            raise ValueError(f"must be in [0, 1], but is {value!r}.")
        return weight


class ModelSettings(UpsamplerSettings):
    """What every kind with the base model is loaded with."""

    offload_options: ClassVar = {
        "offload_text_encoder_model": TEXT,
        "offload_guardrail_models": GUARDRAILS,
        "offload_diffusion_transformer": DIT,
        "offload_prompt_upsampler": REFINER,
    }
    min_safe_share: ClassVar = MIN_SAFE_SHARE
    safe_classes: ClassVar = SAFE_CLASSES

    model_size: Annotated[Literal["7B", "tiny"], Flag(aliases=("--model",))] = "7B"
    """Model; tiny ships with cosmos and runs anywhere."""
    tokenizer_dir: str = "Cosmos-Tokenize1-CV8x8x8-720p"
    """Folder of the tokenizer, under nvidia/ in the checkpoint folder."""
    offload_text_encoder_model: bool = False
    """Keep the text encoder off the device except while it works."""
    offload_guardrail_models: bool = False
    """Keep guardrails off the device except while they work."""
    offload_diffusion_transformer: bool = False
    """Keep the base model and the control branches in host memory and stream them block by block while they denoise."""
    upsample_prompt: bool = False
    """Have a short prompt rewritten by a model that looks at the controls."""

    @property
    def has_published_tokenizer(self) -> bool:
        """Whether `tokenizer_dir` is the published one."""
        return is_published_tokenizer(self.tokenizer_dir)


class TransferSettings(ModelSettings):
    """What is loaded once and serves many videos."""

    is_av_sample: bool = False
    """Use the base model for driving scenes (hdmap, lidar)."""
    use_distilled: bool = False
    """Use the distilled model of edge: one step, in which guidance, negative prompt and sigma_max play no part."""


class TransferRequest(StrictModel):
    """One video."""

    controls: Annotated[dict[str, ControlSpec], Flag(aliases=("--controlnet-specs",), option=False)]
    """Modality to how it controls the video."""
    regional_prompts: Annotated[tuple[RegionalPrompt, ...], Flag(aliases=("--controlnet-specs",), option=False)] = ()
    """Prompts for regions of the video."""
    input_video_path: Source | None = None
    """Video to transform; without one, every control needs an input_control."""
    prompt: Annotated[Prompt, StringConstraints(min_length=1)] = DEFAULT_PROMPT
    """What the new world looks like."""
    negative_prompt: Prompt = DEFAULT_NEGATIVE_PROMPT
    """What to avoid; an empty text guides away from no text at all."""
    sigma_max: float = Field(default=70.0, gt=0.002, allow_inf_nan=False)
    """Noise added to the input video; from 80 on the video starts from pure noise."""
    guidance: Guidance = None
    """Classifier-free guidance; 0 is unguided and twice as fast."""
    num_steps: int = Field(default=35, ge=1, le=1000)
    """Denoising steps."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Seed of the noise; the same seed gives the same video."""
    fps: int = Field(default=24, ge=1, le=120)
    """Frame rate of the output, which the model is told too."""
    blur_strength: Strength = "medium"
    """How strongly vis blurs the input video."""
    canny_threshold: Strength = "medium"
    """Threshold of edge; a lower one finds more edges."""
    num_input_frames: Literal[1, 9, 17] = 1
    """Frames that a chunk, of 121 or of tiny 33, shares with the one before it."""
    video_save_folder: Anywhere = Path("outputs")
    """Folder of the output."""
    video_save_name: PlainName = "output"
    """Name of the output without .mp4; the sidecar goes beside it."""
    overwrite: bool = False
    """Replace existing files."""
    preview: bool = False
    """Also write a contact sheet of input, controls, weight maps and output."""

    @property
    def active_controls(self) -> dict[str, ControlSpec]:
        """The controls that take part: those of weight 0 are neither loaded nor computed."""
        return {name: control for name, control in self.controls.items() if control.control_weight != 0}

    @property
    def upscaling_control(self) -> str | None:
        """The control, if any, that has the video made three times as large, in overlapping tiles."""
        upscaling = (name for name, modality in registry.current().controls.items() if modality.upscales)
        return next((name for name in upscaling if name in self.active_controls), None)

    @property
    def is_upscaling(self) -> bool:
        """Whether the video is made three times as large, in overlapping tiles."""
        return self.upscaling_control is not None

    @property
    def starts_from_video(self) -> bool:
        """Whether the input video, with noise on it, is where denoising starts."""
        return self.input_video_path is not None and self.sigma_max < PURE_NOISE_SIGMA


OF_ANNOTATIONS = frozenset(
    {
        *("input_video_path", "prompt", "seed", "fps", "blur_strength", "canny_threshold", "use_distilled"),
        *("video_save_folder", "video_save_name", "overwrite", "is_av_sample", "model_size"),
        *("checkpoint_dir", "device", "deterministic", "cache_dir"),
    }
)
"""Fields that control videos and weight maps depend on."""


class BatchInput(StrictModel):
    """Many videos instead of one."""

    batch_input_path: Anywhere | None = None
    """Make a video of every row of this JSON Lines file, see `cosmos transfer batch`."""


class BatchFile(StrictModel):
    """Many videos."""

    file: Annotated[Anywhere, Flag(argument=True)]
    """JSON Lines or a JSON array: visual_input, and optionally prompt, control_overrides and other fields."""
