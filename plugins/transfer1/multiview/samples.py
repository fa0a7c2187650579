"""A request whose videos are read: what a pipeline films a scene of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli.checkpoints.catalogue import folder_named
from cosmos_cli.errors import Problem
from cosmos_cli.files.missing import exists
from cosmos_cli.generation.cameras import Camera
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.multiview.variants import base_file, control_file
from cosmos_plugins.transfer1.samples import Paths
from cosmos_plugins.transfer1.variants import VARIANTS

if TYPE_CHECKING:
    import numpy as np

    from cosmos_plugins.transfer1.chunks import Chunk

# V views, F frames, H and W pixel height and width, C = 3 colours


@dataclass(frozen=True)
class Control:
    """One modality of a scene: a control video per camera, brought to size, (V, F, H, W, 3) uint8."""

    name: str
    frames_VFHWC: np.ndarray
    weight: float


@dataclass(frozen=True)
class Sample:
    """One scene to film.

    front_FHWC: what the front camera saw, (F, H, W, 3) uint8, as long as the clips together.
    controls: in the order of the specification, without those of weight 0.
    initial_VFHWC: first frames of every view, (V, `num_input_frames`, H, W, 3) uint8; None for the model of one clip.
    clips: which frames each clip makes.
    """

    request: MultiviewRequest
    cameras: tuple[Camera, ...]
    front_FHWC: np.ndarray
    controls: tuple[Control, ...]
    initial_VFHWC: np.ndarray | None
    clips: tuple[Chunk, ...]
    outputs: Mapping[str, Path]
    paths: Paths

    @property
    def weights(self) -> Mapping[str, Path]:
        return self.paths.named()


def output_paths(request: MultiviewRequest) -> dict[str, Path]:
    """The files of one scene: "video", "mosaic", "sidecar", and "preview" if asked for."""
    folder, name = request.video_save_folder, request.video_save_name.removesuffix(".mp4")
    paths = {
        "video": folder / f"{name}.mp4",
        "mosaic": folder / f"{name}_mosaic.mp4",
        "sidecar": folder / f"{name}.json",
    }
    return paths | ({"preview": folder / f"{name}.png"} if request.preview else {})


def weight_paths(settings: MultiviewSettings, request: MultiviewRequest) -> Paths:
    """Where the weights of a request lie, whether or not they are there."""
    root = TINY_ROOT if settings.model_size == "tiny" else settings.checkpoint_dir
    return Paths(
        base=root / base_file(request.kind),
        tokenizer=folder_named(root, settings.tokenizer_dir),
        text_encoder=root / VARIANTS[settings.model_size].text_encoder,
        controls={
            name: _within(root, control.ckpt_path)
            if control.ckpt_path is not None
            else root / control_file(request.kind, name, waymo_example=settings.waymo_example)
            for name, control in request.active_controls.items()
        },
    )


def _within(root: Path, path: Path) -> Path:
    """A path as given if it is there, else under the checkpoint folder if it is there."""
    return root / path if not exists(path) and exists(root / path) else path


def control_place(name: str, camera: Camera) -> str:
    """How a control video is called in messages."""
    return f"{name}, input_control, {camera.name} camera"


def too_short(num_frames: int, needed: int, place: str) -> Problem:
    """What is wrong with a control video."""
    return Problem(
        f"has {num_frames} frames, fewer than the {needed} that are made.",
        place,
        "Give a control video of the front video's length.",
    )


def initial_videos(folder: Path, cameras: tuple[Camera, ...]) -> list[tuple[Camera, Path]]:
    """The files of a folder with the first frames of every view: 000.mp4 and so on, in the order of the cameras."""
    return [(camera, folder / f"{number:03}.mp4") for number, camera in enumerate(cameras)]
