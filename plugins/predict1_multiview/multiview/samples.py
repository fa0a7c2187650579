"""A request whose input is read: what a pipeline films a scene of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli.generation.cameras import Camera
from cosmos_cli.generation.variants import Kind
from cosmos_cli.generation.weights import Paths, paths_of
from cosmos_plugins.predict1_multiview.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW

if TYPE_CHECKING:
    import numpy as np

# V views, F frames, H and W pixel height and width, C = 3 colours


@dataclass(frozen=True)
class Sample:
    """One scene to film.

    given_VFHWC: the frames that begin every view, (V, `num_input_frames`, H, W, 3) uint8 in the input's own size; None
        if there are none.
    first_given: number of the first of them in the video of each view.
    height, width: of every view in pixels.
    """

    request: MultiviewRequest
    cameras: tuple[Camera, ...]
    given_VFHWC: np.ndarray | None
    height: int
    width: int
    outputs: Mapping[str, Path]
    paths: Paths
    first_given: int = 0

    @property
    def weights(self) -> Mapping[str, Path]:
        return self.paths.named()


def size_of(settings: MultiviewSettings, request: MultiviewRequest) -> tuple[int, int]:
    """Height and width of every view in pixels."""
    variant = MULTIVIEW[settings.model_size]
    return request.height or variant.height, request.width or variant.width


def output_paths(request: MultiviewRequest) -> dict[str, Path]:
    """The files of one scene: "video", "grid", "prompts", "sidecar", and "preview" if asked for."""
    folder, name = request.video_save_folder, request.video_save_name.removesuffix(".mp4")
    paths = {
        "video": folder / f"{name}.mp4",
        "grid": folder / f"{name}_grid.mp4",
        "prompts": folder / f"{name}.txt",
        "sidecar": folder / f"{name}.json",
    }
    return paths | ({"preview": folder / f"{name}.png"} if request.preview else {})


def weight_paths(settings: MultiviewSettings, kind: Kind) -> Paths:
    """Where the weights of a model lie, whether or not they are there."""
    variant = MULTIVIEW[settings.model_size]
    return paths_of(
        settings.checkpoint_dir,
        variant.folder_of(kind),
        variant.helpers,
        tokenizer_dir=settings.tokenizer_dir,
        is_tiny=settings.is_tiny,
        own=settings.diffusion_transformer_dir,
        lora=settings.lora_path,
    )
