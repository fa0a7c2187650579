"""The cameras of a car, in the order in which videos, prompts and control videos stand."""

from __future__ import annotations

from typing import NamedTuple

_MOUNTED = "The video is captured from a camera mounted on a car. The camera is facing"


class Camera(NamedTuple):
    """One camera.

    field: the request's field for its prompt. sentence: how every prompt of it begins, as in training. view_index: row
    of the networks' view table.
    """

    name: str
    field: str
    sentence: str
    view_index: int


CAMERAS = (
    Camera("front", "prompt", f"{_MOUNTED} forward.", 0),
    Camera("left", "prompt_left", f"{_MOUNTED} to the left.", 1),
    Camera("right", "prompt_right", f"{_MOUNTED} to the right.", 2),
    Camera("rear", "prompt_back", f"{_MOUNTED} backwards.", 3),
    Camera("rear left", "prompt_back_left", f"{_MOUNTED} the rear left side.", 4),
    Camera("rear right", "prompt_back_right", f"{_MOUNTED} the rear right side.", 5),
)
SENTENCES = {camera.name: camera.sentence for camera in CAMERAS}

MOSAIC = (("left", "front", "right"), ("rear left", "rear", "rear right"))
"""Where each camera stands in a picture of all of them."""
