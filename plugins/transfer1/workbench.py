"""Transfer in the workbench."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli import registry
from cosmos_cli.workbench.kind import SAMPLING, Clip, Control, Field, Kind, seldom
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.spec import CONTROLNET_SPECS

if TYPE_CHECKING:
    from cosmos_cli.generation.pipeline import Inputs

_FIELDS_OF = {"vis": ("blur_strength",), "edge": ("canny_threshold",)}
_START = {"edge": 0.5}
"""Weights that sliders begin at."""


class TransferKind(Kind):
    """`cosmos transfer run`, with the controls that are installed."""

    command = ("transfer", "run")
    help = "Turn a clip into another world, under controls that are computed out of it."
    models = (TransferRequest, TransferSettings)
    spec = CONTROLNET_SPECS
    clip = Clip("input_video_path")
    weights_note = "Where they act together, they are divided by that sum."
    fields = (
        Field("prompt"),
        Field("model_size"),
        *SAMPLING,
        Field("sigma_max", slider=(1, 80)),
        *seldom("negative_prompt", "fps", "num_input_frames", "use_distilled", "upsample_prompt"),
    )

    def controls(self) -> Sequence[Control]:
        found = registry.current()
        own = found.families["transfer"].plugin
        return [
            Control(
                name=each.name,
                help=each.help,
                weight=_START.get(each.name, 0.0),
                fields=_FIELDS_OF.get(each.name, ()),
                shows_objects=each.name == "seg" or each.plugin != own,
            )
            for each in found.controls.values()
            if each.factory is not None
            and not each.upscales
            and not each.driving
            and (each.needs is None or importlib.util.find_spec(each.needs.name) is not None)
        ]

    def inputs(self) -> Inputs:
        from cosmos_plugins.transfer1 import inputs

        return inputs

    def look(self, settings: TransferSettings, request: TransferRequest) -> Mapping[str, Path]:
        from cosmos_plugins.transfer1.annotate import annotate

        return annotate(settings, request).files

    def loaded_for(self, request: TransferRequest) -> Sequence[str]:
        return [f"{name} {control.ckpt_path or ''}" for name, control in request.active_controls.items()]


KIND = TransferKind()
