"""What models for one view or several are loaded with, under the originals' names, and what their requests say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from cosmos_cli.files.names import PlainName
from cosmos_cli.generation.settings import DIT, GUARDRAILS, TEXT, TOKENIZER, Guidance, TextEncoderSettings
from cosmos_cli.requests import Anywhere, Flag, StrictModel

_PATCH_PX = 16
_MAX_PX = 1920
"""Of either side: the networks count 120 patches."""


def _whole_patches(pixels: int) -> int:
    if pixels % _PATCH_PX or not _PATCH_PX <= pixels <= _MAX_PX:
        raise ValueError(f"must be a multiple of {_PATCH_PX} from {_PATCH_PX} to {_MAX_PX}, but is {pixels}.")
    return pixels


Pixels = Annotated[int, AfterValidator(_whole_patches)]
"""Height or width of a video."""


class NetworkSettings(TextEncoderSettings):
    """What is loaded once and serves many requests, wherever its network comes from."""

    offload_options: ClassVar = {
        "offload_diffusion_transformer": DIT,
        "offload_tokenizer": TOKENIZER,
        "offload_text_encoder_model": TEXT,
        "offload_guardrail_models": GUARDRAILS,
    }

    lora_path: Path | None = None
    """LoRA to merge into the network: a folder of peft, as post-trainings write it, or a file."""
    lora_alpha: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False), Flag(default="from the adapter, else its rank")
    ] = None
    """Strength of the LoRA: what it learnt counts alpha / rank times."""
    offload_diffusion_transformer: bool = False
    """Keep the diffusion transformer in host memory and stream it block by block while it denoises."""
    offload_tokenizer: bool = False
    """Keep the tokenizer off the device except while it works."""
    offload_text_encoder_model: bool = False
    """Keep the text encoder off the device except while it works."""
    offload_guardrail_models: bool = False
    """Keep guardrails off the device except while they work."""
    disable_guardrail: bool = False
    """Do not check what goes in and what comes out."""

    @property
    def is_guarded(self) -> bool:
        return not self.disable_guardrail


class RunSettings(NetworkSettings):
    """The same, with a network in a folder of checkpoints."""

    diffusion_transformer_dir: Annotated[str | None, Flag(default="the published model")] = None
    """Folder of the network under the checkpoint folder, or the path of one, of a file, or of a training's folder."""
    tokenizer_dir: str = "Cosmos-Tokenize1-CV8x8x8-720p"
    """Folder of the tokenizer under the checkpoint folder, or under nvidia/ in it."""


class RunOptions(StrictModel):
    """What all requests say."""

    guidance: Guidance = None
    """Classifier-free guidance; 0 is unguided and twice as fast."""
    num_steps: int = Field(default=35, ge=1, le=1000)
    """Denoising steps."""
    fps: int = Field(default=24, ge=1, le=120)
    """Frame rate of the output, which the model is told too."""
    seed: int = Field(default=1, ge=0, lt=2**32)
    """Seed of the noise; the same seed gives the same video."""
    video_save_folder: Anywhere = Path("outputs")
    """Folder of the output."""
    video_save_name: PlainName = "output"
    """Name of the output without .mp4."""
    overwrite: bool = False
    """Replace existing files."""
    preview: bool = False
    """Also write a contact sheet, of the same name ending in .png."""


class BatchInput(StrictModel):
    """Many videos instead of one."""

    batch_input_path: Annotated[Anywhere | None, Flag(usual=True)] = None
    """Make what every row of this JSON Lines file asks for; started again, it goes on where it stopped."""
