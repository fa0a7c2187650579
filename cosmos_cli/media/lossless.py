"""Frames packed without loss, to be kept."""

from __future__ import annotations

import io

import av
import numpy as np


def pack_frames(frames: np.ndarray) -> bytes:
    """Frames as they are, (F, H, W, 3) uint8 RGB or (F, H, W) uint8: FFV1 in Matroska."""
    is_grey = frames.ndim == 3
    packed = io.BytesIO()
    with av.open(packed, mode="w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "gray" if is_grey else "bgr0"
        for image in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="gray" if is_grey else "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return packed.getvalue()


def unpack_frames(packed: bytes) -> np.ndarray | None:
    """What `pack_frames` packed; None if it is something else."""
    try:
        with av.open(io.BytesIO(packed), format="matroska", options={"protocol_whitelist": "none"}) as container:
            stream = container.streams.video[0]
            form = "gray" if stream.pix_fmt == "gray" else "rgb24"
            return np.stack([frame.to_ndarray(format=form) for frame in container.decode(stream)])
    except (OSError, IndexError, ValueError, av.error.FFmpegError):
        return None
