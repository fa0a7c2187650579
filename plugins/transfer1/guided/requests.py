"""What a user gives to `cosmos transfer guided`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from cosmos_cli.files.missing import exists
from cosmos_cli.request_options import FileOption
from cosmos_cli.requests import Flag, StrictModel
from cosmos_plugins.transfer1.guided.views import LABELS
from cosmos_plugins.transfer1.requests import (
    DEFAULT_NEGATIVE_PROMPT,
    DEFAULT_PROMPT,
    ControlSpec,
    ModelSettings,
    Prompt,
    Strength,
    TransferSettings,
)
from cosmos_plugins.transfer1.spec import beside_spec, read_spec

CONTROLS = {
    "edge": ControlSpec(control_weight=0.5),
    "depth": ControlSpec(control_weight=0.75),
    "seg": ControlSpec(control_weight=0.75),
}
"""How the original controls both views."""

OF_EPISODES = ("vis", "edge", "depth", "seg")
"""Controls that can be made out of an episode."""


class GuidedSettings(ModelSettings):
    """What is loaded once and serves many episodes."""

    offload_guardrail_models: bool = True
    """Keep guardrails off the device except while they work."""

    @property
    def of_transfer(self) -> TransferSettings:
        """The same, as a plain transfer has it."""
        return TransferSettings(**dict(self))


class GuidedRequest(StrictModel):
    """Episodes to make realistic; the sidecar of one keeps its own file as `source_data_dir`."""

    source_data_dir: Annotated[Path | None, Flag(usual=True)] = None
    """Folder of the episodes, *.hdf5 or *.h5 files; or one such file."""
    output_data_dir: Annotated[Path | None, Flag(default="the folder of the episodes", usual=True)] = None
    """Folder of the new episodes, and of their videos."""
    save_name_offset: int = Field(default=0, ge=0, le=10**9)
    """Added to the number at the end of each episode's name, so that copies lie beside their originals."""
    controls: Annotated[dict[str, ControlSpec], Flag(aliases=("--controlnet-specs",), option=False)] = CONTROLS
    """Which of vis, edge, depth and seg control both views, and how strongly; their videos come from the episode."""
    prompt: Annotated[Prompt, Field(min_length=1)] = DEFAULT_PROMPT
    """What both views look like; or a JSON file of prompts for the room and the wrist view, of which each episode gets
    one by its seed."""
    negative_prompt: Prompt = DEFAULT_NEGATIVE_PROMPT
    """What to avoid; an empty text guides away from no text at all."""
    sigma_threshold: float = Field(default=1.2866, ge=0, allow_inf_nan=False)
    """Noise level down to which the foreground is held to the simulation: a smaller one keeps it closer, a larger one
    makes it more realistic; from sigma_max on nothing is held."""
    foreground_label: str = "3,4"
    """Labels of what keeps its appearance, separated by commas: 1 ground, 2 table, 3 phantom, 4 robot."""
    concat_video_second_view: bool = True
    """Make the wrist view in one picture below the room view, so that both fit together."""
    fill_missing_pixels: bool = True
    """Fill what the room camera does not see of the table with the median colour of the rest."""
    sigma_max: float = Field(default=80.0, gt=0.002, allow_inf_nan=False)
    """Noise to start from: from 80 on noise alone, below that the simulation with so much noise."""
    guidance: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    """Classifier-free guidance; 0 is unguided and twice as fast."""
    num_steps: int = Field(default=35, ge=1, le=1000)
    """Denoising steps."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Seed, from which each episode gets one of its own by the name of its output."""
    fps: int = Field(default=30, ge=1, le=120)
    """Frame rate of the videos, which the model is told too."""
    height: int = Field(default=224, ge=16, le=4096, multiple_of=2)
    """Height of the saved videos; the model works at its own size."""
    width: int = Field(default=224, ge=16, le=4096, multiple_of=2)
    """Width of the saved videos."""
    blur_strength: Strength = "medium"
    """How strongly vis blurs the simulation."""
    canny_threshold: Strength = "medium"
    """Threshold of edge; a lower one finds more edges."""
    num_input_frames: Literal[1, 9, 17] = 1
    """Frames that a chunk, of 121 or of tiny 33, shares with the one before it."""
    as_original: bool = False
    """Compute as the original does where this does better: see the guide."""
    overwrite: bool = False
    """Replace existing files."""
    preview: bool = False
    """Also write a video and a contact sheet of simulation, mask, room view, warp and wrist view."""
    input_video_path: Path | None = None
    """Has no effect: videos come from the episodes. Accepted for command lines of the original."""
    video_save_folder: Path | None = None
    """Has no effect, see --output-data-dir. Accepted for command lines of the original."""
    model_config_file: str | None = None
    """Has no effect. Accepted for command lines of the original."""

    @field_validator("foreground_label")
    @classmethod
    def _labels(cls, value: str) -> str:
        _numbers(value)
        return value

    @property
    def foreground(self) -> tuple[int, ...]:
        """The labels of what keeps its appearance."""
        return _numbers(self.foreground_label)

    @property
    def active_controls(self) -> dict[str, ControlSpec]:
        """The controls that take part: those of weight 0 are neither loaded nor computed."""
        return {name: control for name, control in self.controls.items() if control.control_weight != 0}


def _numbers(text: str) -> tuple[int, ...]:
    known = set(LABELS.values())
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(
        part.isascii() and part.isdigit() and len(part) < 4 and int(part) in known for part in parts
    ):
        raise ValueError(f"must be labels from 0 to {max(known)}, such as 3,4, but is {text!r}.")
    return tuple(dict.fromkeys(int(part) for part in parts))


class DemoEpisode(StrictModel):
    """An episode to try things with, instead of a generation."""

    demo_episode: Path | None = None
    """Render a small episode of two cameras into this file, and stop."""
    demo_frames: int = Field(default=30, ge=1, le=10_000)
    """Frames of --demo-episode."""


def _read_spec(path: Path) -> dict[str, Any]:
    """A control specification; what it says of videos stands for the episode's own, and is left out."""
    values = read_spec(path)
    values["controls"] = {
        name: control.model_copy(update={"input_control": None}) for name, control in values["controls"].items()
    }
    values.pop("input_video_path", None)
    if (prompt := str(values.get("prompt", ""))).endswith(".json"):
        values["prompt"] = _found(prompt, path.parent)
    return values


def _found(prompts: str, folder: Path) -> str:
    """The file of prompts that a specification names, from the folder it was written for or beside itself."""
    found = beside_spec(prompts, folder)
    return found if exists(Path(found)) else beside_spec(Path(prompts).name, folder)


GUIDED_SPECS = FileOption(
    "--controlnet-specs",
    "Control specification, a JSON file: which of vis, edge, depth and seg control both views, and how strongly.",
    _read_spec,
)
