"""Transfer in the workbench."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_cli import registry
from cosmos_cli.generation.settings import TOKENIZER
from cosmos_cli.workbench.kind import Control, Field, Kind
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.spec import CONTROLNET_SPECS

if TYPE_CHECKING:
    import numpy as np

    from cosmos_cli.generation.pipeline import Inputs
    from cosmos_cli.generation.steps import Step

# F frames, C latent channels, T latent frames, H and W height and width

_WHOLE_UP_TO = 4_000_000
"""Pixels of all frames of a preview; of a larger one only the first frame is decoded."""

_FIELDS_OF = {"vis": ("blur_strength",), "edge": ("canny_threshold",)}
_START = {"edge": 0.5}
"""Weights that sliders begin at."""


class TransferKind(Kind):
    """`cosmos transfer run`, with the controls that are installed."""

    command = ("transfer", "run")
    models = (TransferRequest, TransferSettings)
    spec = CONTROLNET_SPECS
    clip = "input_video_path"
    weights_note = "Where they act together, they are divided by that sum."
    fields = (
        Field("prompt"),
        Field("model_size"),
        Field("num_steps", slider=(1, 60)),
        Field("guidance", slider=(0, 12)),
        Field("sigma_max", slider=(1, 80)),
        Field("seed"),
        Field("negative_prompt", is_usual=False),
        Field("fps", is_usual=False),
        Field("num_input_frames", is_usual=False),
        Field("use_distilled", is_usual=False),
        Field("upsample_prompt", is_usual=False),
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

    def preview(self, pipeline: Any, step: Step) -> np.ndarray | None:
        import numpy as np

        from cosmos_cli.media.frames import to_frames_truncated
        from cosmos_cli.runtime.memory.residence import Where

        models = pipeline.models
        x0_BCTHW = step.x0_BCTHW
        if len(x0_BCTHW) != 1 or models.stages.plan[TOKENIZER].where != Where.RESIDENT:
            return None  # tiles of a larger picture; or the decoder waits in host memory
        config = models.tokenizer.network.config
        T, H, W = x0_BCTHW.shape[2:]
        num_pixels = T * config.temporal_compression * H * W * config.spatial_compression**2
        latents = x0_BCTHW if num_pixels <= _WHOLE_UP_TO else x0_BCTHW[:, :, :1]
        pieces = models.tokenizer.decode_chunks(latents.to(models.dtype))
        return np.concatenate([to_frames_truncated(piece) for piece in pieces])


KIND = TransferKind()
