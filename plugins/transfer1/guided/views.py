"""What the two cameras of an episode see, and where they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width

View = Literal["room", "wrist"]
VIEWS: tuple[View, View] = ("room", "wrist")
"""In the order of an episode's arrays."""

LABELS = {"unlabelled": 0, "ground": 1, "table": 2, "phantom": 3, "robot": 4}
"""What an episode's segmentation tells apart."""


@dataclass(frozen=True)
class Cameras:
    """One camera over the frames of an episode, float64.

    intrinsics_F33: (F, 3, 3), in pixels; integer coordinates are the centres of pixels.
    positions_F3: in the world, in metres.
    quaternions_F4: rotations from the camera to the world, in the order w, x, y, z; the camera looks along z, x is to
        the right and y is down (ROS's optical frame).
    """

    intrinsics_F33: np.ndarray
    positions_F3: np.ndarray
    quaternions_F4: np.ndarray

    def __len__(self) -> int:
        return len(self.positions_F3)

    def __getitem__(self, frames: slice | np.ndarray) -> Cameras:
        return Cameras(self.intrinsics_F33[frames], self.positions_F3[frames], self.quaternions_F4[frames])


@dataclass(frozen=True)
class Seen:
    """What one camera sees in some frames.

    rgb_FHW3: uint8. depth_FHW: float32, along the camera's z, in metres. labels_FHW: uint8, see `LABELS`.
    """

    rgb_FHW3: np.ndarray
    depth_FHW: np.ndarray
    labels_FHW: np.ndarray
    cameras: Cameras
