"""A request whose videos are read: what a pipeline makes a video of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli import registry
from cosmos_plugins.transfer1.requests import TransferRequest

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours; h and w latent height and width


@dataclass(frozen=True)
class Paths:
    """Where a run reads its weights."""

    base: Path
    tokenizer: Path
    text_encoder: Path
    controls: Mapping[str, Path] = field(default_factory=dict)

    def named(self) -> dict[str, Path]:
        """By what they are; control branches by their modality."""
        return {"base": self.base, "tokenizer": self.tokenizer, "text_encoder": self.text_encoder, **self.controls}


@dataclass(frozen=True)
class Control:
    """One modality of a sample, brought to size.

    frames_FHWC: control video, (F, height, width, 3) uint8.
    weight: strength, or a weight map (F, H, W) or (H, W) of floats, at any size.
    is_computed: whether the video was made here, out of the input video.
    is_confined: whether the weight map was made here, out of `control_weight_prompt`.
    """

    name: str
    frames_FHWC: np.ndarray
    weight: float | np.ndarray
    is_computed: bool
    is_confined: bool = False


@dataclass(frozen=True)
class Region:
    """A prompt for a part of the video. map_Fhw: where that is, (F, h, w) in [0, 1], at the size of the latents."""

    prompt: str
    map_Fhw: np.ndarray


@dataclass(frozen=True)
class Sample:
    """One video to make.

    frames_FHWC: the input video, (F, H, W, 3) uint8; None to start from noise alone.
    controls: in the order of the specification, without those of weight 0.
    height, width: of the picture that the networks see; the frames are larger where it is a tile of them.
    """

    request: TransferRequest
    frames_FHWC: np.ndarray | None
    controls: tuple[Control, ...]
    height: int
    width: int
    num_frames: int
    outputs: Mapping[str, Path]
    paths: Paths
    regions: tuple[Region, ...] = ()

    @property
    def weights(self) -> Mapping[str, Path]:
        return self.paths.named()


def output_paths(request: TransferRequest) -> dict[str, Path]:
    """The files of one video.

    "video", "sidecar", "preview" if asked for, and what was computed: "control:<name>" and "weight:<name>".
    """
    folder, name = request.video_save_folder, request.video_save_name.removesuffix(".mp4")
    paths = {"video": folder / f"{name}.mp4", "sidecar": folder / f"{name}.json"}
    if request.preview:
        paths["preview"] = folder / f"{name}.png"
    return paths | computed_paths(request)


def computed_paths(request: TransferRequest) -> dict[str, Path]:
    """The control videos and the pictures of weight maps that are made out of the input video."""
    folder, stem = request.video_save_folder, request.video_save_name.removesuffix(".mp4")
    modalities, paths = registry.current().controls, {}
    for name, control in request.active_controls.items():
        modality = modalities.get(name)  # another check says what is wrong if there is none
        if control.input_control is None and modality is not None and modality.save_computed:
            paths[f"control:{name}"] = folder / f"{stem}_{name}_input_control.mp4"
        if control.control_weight_prompt is not None:
            paths[f"weight:{name}"] = folder / f"{stem}_{name}_control_weight.mp4"
    return paths
