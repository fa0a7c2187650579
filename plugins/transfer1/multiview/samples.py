"""What is read of a request before a model sees it: all its videos, and where the weights lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_plugins.transfer1.multiview.cameras import Camera
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest

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


@dataclass(frozen=True)
class Paths:
    """Where a run reads its weights."""

    base: Path
    tokenizer: Path
    text_encoder: Path
    controls: Mapping[str, Path] = field(default_factory=dict)
