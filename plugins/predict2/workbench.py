"""Predict2 in the workbench."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_cli.workbench.kind import SAMPLING, Clip, Field, Kind, seldom
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.text2world.requests import Text2WorldRequest, Text2WorldSettings
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings

if TYPE_CHECKING:
    from cosmos_cli.generation.pipeline import Inputs


class _VideoKind(Kind):
    def outputs(self, folder: Path) -> dict[str, Any]:
        return {"save_path": folder / "output.mp4"}


class Video2WorldKind(_VideoKind):
    """`cosmos predict2 video2world`."""

    command = ("predict2", "video2world")
    help = "Continue a picture, or the end of a clip, as a video."
    models = (Video2WorldRequest, Video2WorldSettings)
    clip = Clip("input_path", takes_pictures=True)
    fields = (
        *map(Field, ("prompt", "model_size", "resolution", "aspect_ratio", "num_conditional_frames")),
        *SAMPLING,
        *seldom("negative_prompt", "fps", "num_frames", "num_chunks", "natten", "gr00t_variant", "prompt_prefix"),
        *seldom("disable_prompt_refiner"),
    )

    def inputs(self) -> Inputs:
        from cosmos_plugins.predict2.video2world import inputs

        return inputs


class Text2WorldKind(_VideoKind):
    """`cosmos predict2 text2world`."""

    command = ("predict2", "text2world")
    help = "Make a video out of a prompt: first a picture, then a video that begins with it."
    models = (Text2WorldRequest, Text2WorldSettings)
    fields = (
        *map(Field, ("prompt", "model_size", "resolution", "aspect_ratio")),
        *SAMPLING,
        *seldom("negative_prompt", "fps", "num_frames", "distill_steps", "natten", "disable_prompt_refiner"),
    )

    def inputs(self) -> Inputs:
        from cosmos_plugins.predict2.text2world import inputs

        return inputs


class Text2ImageKind(Kind):
    """`cosmos predict2 text2image`."""

    command = ("predict2", "text2image")
    help = "Make a picture out of a prompt."
    models = (Text2ImageRequest, Text2ImageSettings)
    fields = (
        *map(Field, ("prompt", "model_size", "aspect_ratio")),
        *SAMPLING,
        *seldom("negative_prompt", "distill_steps"),
    )
    shows = "image"
    makes_picture = True

    def inputs(self) -> Inputs:
        from cosmos_plugins.predict2.text2image import inputs

        return inputs

    def outputs(self, folder: Path) -> dict[str, Any]:
        return {"save_path": folder / "output.png"}


KINDS = (Video2WorldKind(), Text2WorldKind(), Text2ImageKind())
