"""Which cameras a model films with, and how a prompt of one begins."""

from __future__ import annotations

from cosmos_cli.generation.cameras import CAMERAS, Camera


def cameras_of(waymo_example: bool) -> tuple[Camera, ...]:
    """The cameras of a model; the one for Waymo's recordings has none that faces backwards."""
    return tuple(camera for camera in CAMERAS if not waymo_example or camera.name != "rear")


def full_prompt(camera: Camera, prompt: str) -> str:
    """A prompt that begins with the camera's sentence, which is all of it if nothing was given."""
    if prompt.startswith(camera.sentence):
        return prompt
    return f"{camera.sentence} {prompt}".rstrip()
