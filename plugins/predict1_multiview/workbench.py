"""Predict1 in the workbench, for one camera and for all cameras of a car."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cosmos_cli.generation.cameras import CAMERAS
from cosmos_cli.workbench.kind import SAMPLING, Clip, Field, Kind, seldom
from cosmos_plugins.predict1_multiview.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.predict1_multiview.single_view.requests import SingleViewOptions
from cosmos_plugins.predict1_multiview.text2world.requests import Text2WorldRequest, Text2WorldSettings
from cosmos_plugins.predict1_multiview.video2world.requests import Video2WorldRequest, Video2WorldSettings

if TYPE_CHECKING:
    from cosmos_cli.generation.pipeline import Inputs

_SELDOM = seldom("negative_prompt", "height", "width", "fps", "disable_prompt_upsampler")


class _SingleViewKind(Kind):
    def loaded_for(self, request: SingleViewOptions) -> Sequence[str]:
        # one that is long needs no model that writes it out
        return ["as given"] if request.is_long else []


class Video2WorldKind(_SingleViewKind):
    """`cosmos predict1 video2world`."""

    command = ("predict1", "video2world")
    help = "Continue a picture, or the end of a clip, as a video."
    models = (Video2WorldRequest, Video2WorldSettings)
    clip = Clip("input_image_or_video_path", takes_pictures=True)
    fields = (
        *map(Field, ("prompt", "model_size", "num_input_frames")),
        *SAMPLING,
        *_SELDOM,
        *seldom("like_original"),
    )

    def inputs(self) -> Inputs:
        from cosmos_plugins.predict1_multiview.video2world import inputs

        return inputs


class Text2WorldKind(_SingleViewKind):
    """`cosmos predict1 text2world`."""

    command = ("predict1", "text2world")
    help = "Make a video out of a prompt."
    models = (Text2WorldRequest, Text2WorldSettings)
    fields = (
        *map(Field, ("prompt", "model_size")),
        *SAMPLING,
        *_SELDOM,
        *seldom("word_limit_to_skip_upsampler"),
    )

    def inputs(self) -> Inputs:
        from cosmos_plugins.predict1_multiview.text2world import inputs

        return inputs


class MultiviewKind(Kind):
    """`cosmos predict1-multiview run`: Video2World with an input, and else Text2World."""

    command = ("predict1-multiview", "run")
    help = "Make what all cameras of a car see, out of prompts or of a video of all of them, one after the other."
    models = (MultiviewRequest, MultiviewSettings)
    clip = Clip("input_image_or_video_path", is_needed=False)
    fields = (
        *(Field(camera.field) for camera in CAMERAS),
        *map(Field, ("model_size", "num_input_frames")),
        *SAMPLING,
        *seldom("n_views", "height", "width", "fps", "frame_repeat_negative_condition", "frame_repeat_contrast"),
        *seldom("like_original"),
    )
    shows = "grid"

    def inputs(self) -> Inputs:
        from cosmos_plugins.predict1_multiview.multiview import inputs

        return inputs

    def loaded_for(self, request: MultiviewRequest) -> Sequence[str]:
        return [request.kind]


SINGLE_VIEW_KINDS = (Video2WorldKind(), Text2WorldKind())
MULTIVIEW_KIND = MultiviewKind()
