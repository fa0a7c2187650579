"""Cosmos-1.0 diffusion models in the workbench."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cosmos_cli.workbench.kind import SAMPLING, Clip, Field, Kind, seldom
from cosmos_plugins.nemo_bridge.requests import NemoRequest, NemoSettings

if TYPE_CHECKING:
    from cosmos_cli.generation.pipeline import Inputs


class NemoKind(Kind):
    """`cosmos nemo run`: Video2World with an input, and else Text2World."""

    command = ("nemo", "run")
    help = "Make a video out of a prompt, or continue a picture or the end of a clip."
    models = (NemoRequest, NemoSettings)
    clip = Clip("conditioned_image_or_video_path", is_needed=False, takes_pictures=True)
    fields = (
        *map(Field, ("prompt", "model_size", "num_input_frames")),
        *SAMPLING,
        *seldom("negative_prompt", "num_video_frames", "height", "width", "fps", "subject_name"),
        *seldom("enable_prompt_upsampler"),
    )

    def inputs(self) -> Inputs:
        from cosmos_plugins.nemo_bridge import inputs

        return inputs

    def loaded_for(self, request: NemoRequest) -> Sequence[str]:
        return [request.kind]


KIND = NemoKind()
