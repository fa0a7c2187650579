"""What `cosmos predict2 text2world` will do and cost: a picture, and then a video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cosmos_cli.generation.plan import Plan, one_after_another, renamed
from cosmos_plugins.predict2 import planning
from cosmos_plugins.predict2.text2image import planning as image_planning
from cosmos_plugins.predict2.text2world.inputs import Stages, check, divide
from cosmos_plugins.predict2.text2world.requests import Text2WorldRequest, Text2WorldSettings

_PICTURE = "first_frame_"
"""Begins the names of the picture's stages, as in the sidecar."""


def plan(settings: Text2WorldSettings, request: Text2WorldRequest) -> Plan:
    """Check a request, and say what it will cost. Missing weights are part of the plan, no error.

    Raises:
        InputError: all that is wrong with the settings and the output.
    """
    stages = divide(settings, request)
    check(settings, stages)
    picture, video = renamed(estimate_picture(stages), _PICTURE), estimate_video(stages)
    both = one_after_another(
        [picture, video],
        model=f"predict2 text2world {settings.model_size}{' sparse' if settings.natten else ''}",
        request=video.request,
    )
    return replace(both, frames=replace(video.frames, given=0), num_items=1)


def estimate_picture(stages: Stages) -> Plan:
    return image_planning.estimate(stages.image_settings, stages.image_request)


def estimate_video(stages: Stages) -> Plan:
    return planning.estimate(stages.video_settings, stages.video_request, num_given=1)


def together(picture: Mapping[str, Any], video: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of both, planned or actual, as those of one run; see `Plan.figures`."""
    seconds = {f"{_PICTURE}{stage}": value for stage, value in picture["seconds"].items() if stage != "total"}
    total = picture["seconds"]["total"] + video["seconds"]["total"]
    peaks = {
        name: max((figures[name] for figures in (picture, video) if figures[name] is not None), default=None)
        for name in ("device_peak_bytes", "host_peak_bytes")
    }
    return {**peaks, "seconds": {**seconds, **video["seconds"], "total": round(total, 3)}}
