"""Which cameras a model films with."""

from __future__ import annotations

from cosmos_cli.generation.cameras import CAMERAS, Camera

MAX_VIEWS = len(CAMERAS)

_OFTEN_REPEATED = ("rear left", "rear right")
"""Cameras whose recordings had repeated frames where the models were trained."""


def cameras_of(num_views: int) -> tuple[Camera, ...]:
    """The cameras of a model for so many views; one for five has none that faces backwards."""
    if num_views == MAX_VIEWS - 1:
        return tuple(camera for camera in CAMERAS if camera.name != "rear")
    return CAMERAS[:num_views]


def frame_repeats(cameras: tuple[Camera, ...], number: float) -> list[float]:
    """How many frames are repeated in the video of each camera."""
    return [number if camera.name in _OFTEN_REPEATED else 0.0 for camera in cameras]
