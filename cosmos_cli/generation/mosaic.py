"""All views of a scene in one picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cosmos_cli.generation.cameras import MOSAIC, Camera

# V views, F frames, H and W pixel height and width, C = 3 colours


def mosaic_frames(frames_VFHWC: np.ndarray, cameras: Sequence[Camera]) -> Iterator[np.ndarray]:
    """Each frame as a grid of two rows of three views, (2 H, 3 W, 3); a camera that there is not stays black."""
    numbers = {camera.name: number for number, camera in enumerate(cameras)}
    black_HWC = np.zeros_like(frames_VFHWC[0, 0])
    for views_VHWC in frames_VFHWC.swapaxes(0, 1):
        rows = (
            np.concatenate([views_VHWC[numbers[name]] if name in numbers else black_HWC for name in row], axis=1)
            for row in MOSAIC
        )
        yield np.concatenate(list(rows))
