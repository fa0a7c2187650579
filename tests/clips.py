"""Clips and pictures rendered for tests."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def moving_gradient(num_frames: int, height: int, width: int) -> np.ndarray:
    """(F, H, W, 3) uint8: a coloured slope that drifts, with a bright block whose column is the frame number."""
    y, x = np.mgrid[:height, :width]
    frames = []
    for i in range(num_frames):
        frame = np.stack([(x * 3 + 2 * i) % 200, (y * 2 + 40) % 200, np.full_like(x, 60 + i % 100)], axis=-1)
        left = (4 * i) % max(1, width - 8)
        frame[: height // 4, left : left + 8] = 255
        frames.append(frame.astype(np.uint8))
    return np.stack(frames)


def encode(
    path: Path,
    frames: np.ndarray,
    *,
    codec: str = "libx264",
    fps: int = 10,
    pix_fmt: str = "yuv420p",
    movflags: str = "",
    **options: str,
) -> Path:
    """Write frames with any codec, almost without loss."""
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        stream.options = {"crf": "4", **options}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
